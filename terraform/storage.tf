module "export_bucket" {
  source = "./modules/bucket"

  name          = local.bucket_names.export
  location      = var.region
  force_destroy = !var.keep_data

  # BigQuery writes and the lifecycle deletes a snapshot a day: kept for restoring, that would be paid for twice.
  soft_delete_days  = 0
  delete_after_days = [{ days = var.retention.snapshots, prefixes = ["${var.export_prefix}/"] }]

  grants = {
    # Extract jobs write as whoever started them, and replace what a killed one left.
    bq_export     = { role = "roles/storage.objectUser", member = local.runtime["bq_export"] }
    gcs_import    = { role = "roles/storage.objectViewer", member = local.runtime["gcs_import"] }
    hourly_export = { role = "roles/storage.objectUser", member = local.runtime["hourly_export"] }
  }

  depends_on = [google_project_service.this]
}

# A bucket of its own: Eventarc filters by bucket only, and hours are to call nobody.
module "hourly_bucket" {
  source = "./modules/bucket"

  name          = local.bucket_names.hourly
  location      = var.region
  force_destroy = !var.keep_data

  soft_delete_days  = 7
  colder_after_days = var.retention.hours_colder
  # Not the manifests beside them, which are all that knows of an hour.
  delete_after_days = [
    for prefixes in [[for log in keys(local.logs) : "${var.hourly_prefix}/${log}/date="]] :
    { days = var.retention.hours, prefixes = prefixes } if length(prefixes) > 0
  ]

  grants = {
    hourly_export         = { role = "roles/storage.objectUser", member = local.runtime["hourly_export"] }
    hourly_export_loading = { role = "roles/storage.legacyBucketReader", member = local.runtime["hourly_export"] }
    status                = { role = "roles/storage.objectViewer", member = local.runtime["status"] }
  }

  depends_on = [google_project_service.this]
}

module "source_bucket" {
  source = "./modules/bucket"

  name              = local.bucket_names.source
  location          = var.region
  force_destroy     = true
  delete_after_days = []

  grants = {
    build = { role = "roles/storage.objectViewer", member = google_service_account.build.member }
  }

  depends_on = [google_project_service.this]
}
