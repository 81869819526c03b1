module "daily_schedule" {
  source = "./modules/schedule"

  name             = "sync_bq_to_cloudsql_recommendation_tables${var.schedules.suffix}"
  description      = "Exports the daily tables; several tries a morning, for sources that come late"
  region           = var.region
  schedule         = var.schedules.daily
  time_zone        = var.schedules.time_zone
  enabled          = var.schedules.enabled
  paused           = var.schedules.paused
  function         = module.function["bq_export"]
  service_account  = google_service_account.scheduler
  deadline_seconds = var.limits.bq_export.timeout_seconds
  # The next try of the morning is a retry too.
  retry = { count = 2, min_backoff = 60, max_backoff = 600 }
}

locals {
  # Which log's job deletes: the variable can keep all from it, and can have the log do so that calls need not name.
  deletes = {
    for name, log in local.logs : name => var.delete_from_source == null ? log.delete_from_source : (
      var.delete_from_source && (log.delete_from_source || name == local.catalog.default_log)
    )
  }
}

# A job for each log. The first one has the name of the job that it replaces. Each call looks for lost events of the daily
# flow too: where there is no log, the first job is there for that, under its address, so that a log can take it over.
module "hourly_schedule" {
  source   = "./modules/schedule"
  for_each = length(local.logs) > 0 ? toset(keys(local.logs)) : toset(["past_offer_context"])

  name             = "${join("_", concat(["export_cloudsql_tables_to_bigquery_hourly"], each.key == "past_offer_context" ? [] : [each.key]))}${var.schedules.suffix}"
  description      = contains(keys(local.logs), each.key) ? "Exports the last complete hour of ${each.key}, and what earlier calls have left" : "Looks for lost events"
  region           = var.region
  schedule         = coalesce(var.schedules.hourly, "${try(local.logs[each.key].minute, 5)} * * * *")
  time_zone        = var.schedules.time_zone
  enabled          = var.schedules.enabled
  paused           = var.schedules.paused
  function         = module.function["hourly_export"]
  service_account  = google_service_account.scheduler
  deadline_seconds = var.limits.hourly_export.timeout_seconds
  retry            = { count = 3, min_backoff = 120, max_backoff = 900 }

  body = { for field, value in { table_name = each.key, delete_from_source = lookup(local.deletes, each.key, false) } : field => value if contains(keys(local.logs), each.key) }
}
