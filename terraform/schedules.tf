module "daily_schedule" {
  source = "./modules/schedule"

  name             = "sync_bq_to_cloudsql_recommendation_tables"
  description      = "Exports the daily tables; several tries a morning, for sources that come late"
  region           = var.region
  schedule         = var.schedules.daily
  time_zone        = var.schedules.time_zone
  paused           = var.schedules.paused
  function         = module.function["bq_export"]
  service_account  = google_service_account.scheduler
  deadline_seconds = var.limits.bq_export.timeout_seconds
  # The next try of the morning is a retry too.
  retry = { count = 2, min_backoff = 60, max_backoff = 600 }
}

module "hourly_schedule" {
  source = "./modules/schedule"

  name             = "export_cloudsql_tables_to_bigquery_hourly"
  description      = "Exports the last complete hour of past_offer_context, and what earlier calls have left"
  region           = var.region
  schedule         = var.schedules.hourly
  time_zone        = var.schedules.time_zone
  paused           = var.schedules.paused
  function         = module.function["hourly_export"]
  service_account  = google_service_account.scheduler
  deadline_seconds = var.limits.hourly_export.timeout_seconds
  body             = { delete_from_source = var.delete_from_source }
  retry            = { count = 3, min_backoff = 120, max_backoff = 900 }
}
