# What a user brings (docs/deploy.md, "Before"): the network, the instance with its database, the data sets of the sources.
# Nothing here is protected from being destroyed.

locals {
  name = "recosync-${var.environment}"
  # The id of a data set has no dashes.
  underscored = replace(var.environment, "-", "_")

  sources = {
    BIGQUERY_ML_RECOMMENDATION_DATASET = "ml_reco_${local.underscored}"
    BIGQUERY_SEED_DATASET              = "seed_${local.underscored}"
  }
}

resource "google_project_service" "this" {
  for_each = toset(["bigquery", "compute", "servicenetworking", "sqladmin"])

  service = "${each.key}.googleapis.com"
  # Others in the project may need it.
  disable_on_destroy = false
}

resource "google_compute_network" "this" {
  name                    = local.name
  auto_create_subnetworks = false

  depends_on = [google_project_service.this]
}

resource "google_compute_subnetwork" "this" {
  name                     = local.name
  network                  = google_compute_network.this.id
  region                   = var.region
  ip_cidr_range            = var.direct ? "10.8.0.0/26" : "10.8.0.0/28"
  private_ip_google_access = true
}

resource "google_compute_global_address" "services" {
  name          = local.name
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 24
  network       = google_compute_network.this.id
}

resource "google_service_networking_connection" "this" {
  network                 = google_compute_network.this.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services.name]

  # Google refuses to end it for days after the last instance is gone, and lets it go with its network:
  # https://registry.terraform.io/providers/hashicorp/google/latest/docs/resources/service_networking_connection
  deletion_policy = "ABANDON"
}

resource "google_sql_database_instance" "this" {
  name                = local.name
  region              = var.region
  database_version    = "POSTGRES_${var.postgres}"
  deletion_protection = false

  settings {
    edition                     = "ENTERPRISE"
    tier                        = "db-f1-micro"
    availability_type           = "ZONAL"
    disk_type                   = "PD_SSD"
    disk_size                   = 10
    disk_autoresize             = false
    deletion_protection_enabled = false
    retain_backups_on_delete    = false

    database_flags {
      name  = "max_connections"
      value = "50"
    }

    ip_configuration {
      # The functions come by the private address. The tests come by the public one, which lets no network in: only the
      # Cloud SQL Auth Proxy reaches it, with an identity that IAM lets in.
      ipv4_enabled    = true
      private_network = google_compute_network.this.id
      ssl_mode        = "ENCRYPTED_ONLY"
    }

    backup_configuration {
      enabled = false
    }
  }

  depends_on = [google_project_service.this, google_service_networking_connection.this]
}

resource "google_sql_database" "this" {
  name     = "recommendation"
  instance = google_sql_database_instance.this.name
  # It goes with its instance, whoever is connected to it.
  deletion_policy = "ABANDON"
}

resource "google_sql_user" "administrator" {
  name                = "administrator"
  instance            = google_sql_database_instance.this.name
  password_wo         = var.administrator_password
  password_wo_version = 1
  # A role that owns something can't be dropped.
  deletion_policy = "ABANDON"
}

resource "google_bigquery_dataset" "source" {
  for_each = local.sources

  dataset_id                 = each.value
  description                = "Made-up sources of an end-to-end test"
  location                   = var.region
  delete_contents_on_destroy = true

  depends_on = [google_project_service.this]
}
