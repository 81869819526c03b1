module "tmp_dataset" {
  source = "./modules/dataset"

  name                   = "tmp_${local.underscored}"
  description            = "What an export or a load needs while it runs"
  location               = local.bigquery_location
  table_expiration_hours = var.retention.tmp_hours
  time_travel_hours      = 48
  force_destroy          = true

  grants = {
    bq_export     = { role = "roles/bigquery.dataEditor", member = local.runtime["bq_export"] }
    hourly_export = { role = "roles/bigquery.dataEditor", member = local.runtime["hourly_export"] }
  }

  depends_on = [google_project_service.this, terraform_data.locations]
}

module "raw_dataset" {
  source = "./modules/dataset"

  name          = "raw_${local.underscored}"
  description   = "Logs of the recommendation API, hour by hour"
  location      = local.bigquery_location
  force_destroy = !var.keep_data

  depends_on = [google_project_service.this, terraform_data.locations]
}

# A table in a data set of others is theirs, with what they have set of it: it is only granted.
resource "google_bigquery_table" "log" {
  #checkov:skip=CKV_GCP_80:Google's own keys encrypt it, as they do the sources that it is made of
  #checkov:skip=CKV_GCP_121:It is a variable, and on unless an environment's data may go
  for_each = local.own_logs

  project             = each.value.project
  dataset_id          = each.value.dataset
  table_id            = each.value.table
  schema              = jsonencode(each.value.schema)
  clustering          = length(each.value.cluster_by) == 0 ? null : each.value.cluster_by
  deletion_protection = var.keep_data

  time_partitioning {
    type          = "DAY"
    field         = each.value.partition_by
    expiration_ms = var.retention.raw_partitions == null ? null : var.retention.raw_partitions * 24 * 60 * 60 * 1000
  }

  depends_on = [module.raw_dataset]
}

# Others may keep tables beside it, so it is the log's own table that hourly_export may write.
resource "google_bigquery_table_iam_member" "log" {
  for_each = { for name, log in local.logs : "${name} hourly_export" => log }

  project    = each.value.project
  dataset_id = each.value.dataset
  table_id   = each.value.table
  role       = "roles/bigquery.dataEditor"
  member     = local.runtime["hourly_export"]

  depends_on = [google_bigquery_table.log]
}

data "google_bigquery_dataset" "source" {
  for_each = local.sources

  project    = regex(local.dataset, each.key).project
  dataset_id = regex(local.dataset, each.key).dataset
}

# Holds nothing: it is what data sets wait for, so that nothing is made where no job could read or write.
resource "terraform_data" "locations" {
  input = local.bigquery_location

  lifecycle {
    precondition {
      condition     = length(local.source_locations) <= 1
      error_message = "The data sets of the sources are in several places (${join(", ", local.source_locations)}), and a job runs in one: copy what is elsewhere, or deploy one environment for each place."
    }
    precondition {
      condition     = length(local.source_locations) > 1 || alltrue([for place in local.source_locations : place == lower(local.bigquery_location)])
      error_message = "The data sets of the sources are in ${join(", ", local.source_locations)}, and bigquery_location is ${local.bigquery_location}: leave it out."
    }
    # The rule: https://cloud.google.com/bigquery/docs/exporting-data#data-locations
    precondition {
      condition = (
        # EU leaves out two: https://cloud.google.com/bigquery/docs/locations#multi-regions
        contains(["eu", "us"], lower(local.bigquery_location)) ? (
          startswith(var.region, { eu = "europe-", us = "us-" }[lower(local.bigquery_location)])
          && !contains(["europe-west2", "europe-west6"], var.region)
        ) :
        !can(regex("^[a-z]+-[a-z]+[0-9]+$", lower(local.bigquery_location))) || lower(local.bigquery_location) == var.region
      )
      error_message = "The buckets are in ${var.region}, the data sets in ${local.bigquery_location}: no job of BigQuery reads or writes across. Deploy to the place of the sources."
    }
  }
}

# The sources belong to others: all that is done to them here is to let bq_export read. Where their owner writes all grants
# of a data set in one place, that place would take this one away at its next apply.
resource "google_bigquery_dataset_iam_member" "reader" {
  for_each = var.grant_sources ? local.sources : []

  project    = regex(local.dataset, each.key).project
  dataset_id = regex(local.dataset, each.key).dataset
  role       = "roles/bigquery.dataViewer"
  member     = local.runtime["bq_export"]
}
