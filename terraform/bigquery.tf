module "tmp_dataset" {
  source = "./modules/dataset"

  name                   = "tmp_${var.environment}"
  description            = "What an export or a load needs while it runs"
  location               = local.bigquery_location
  table_expiration_hours = var.retention.tmp_hours
  time_travel_hours      = 48
  force_destroy          = true

  grants = {
    bq_export     = { role = "roles/bigquery.dataEditor", member = local.runtime["bq_export"] }
    hourly_export = { role = "roles/bigquery.dataEditor", member = local.runtime["hourly_export"] }
  }

  depends_on = [google_project_service.this]
}

module "raw_dataset" {
  source = "./modules/dataset"

  name          = "raw_${var.environment}"
  description   = "Logs of the recommendation API, hour by hour"
  location      = local.bigquery_location
  force_destroy = !var.keep_data

  tables = {
    for name, log in local.logs : name => {
      schema              = jsonencode(log.schema)
      partition_by        = "import_date"
      cluster_by          = log.cluster_by
      expiration_days     = var.retention.raw_partitions
      deletion_protection = var.keep_data
      # Others may keep tables here, so it is the log's own table that hourly_export may write.
      editors = { hourly_export = local.runtime["hourly_export"] }
    }
  }

  depends_on = [google_project_service.this]
}

# The sources belong to others: all that is done to them here is to let bq_export read.
resource "google_bigquery_dataset_iam_member" "source" {
  for_each = var.source_datasets

  dataset_id = each.value
  role       = "roles/bigquery.dataViewer"
  member     = local.runtime["bq_export"]
}
