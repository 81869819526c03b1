locals {
  secret_file = "/secrets/database_url"

  common_environment = merge(
    {
      ENV_SHORT_NAME              = var.environment
      GCP_PROJECT_ID              = var.project_id
      RECOMMENDATION_SQL_INSTANCE = var.cloud_sql.instance
      # glibc's: with a heap for each thread, a load's memory grows with its rows.
      MALLOC_ARENA_MAX = "2"
    },
    var.openlineage_url == null ? {} : { OPENLINEAGE_URL = var.openlineage_url },
  )

  daily_environment = merge({ for variable, name in local.source_names : variable => var.source_datasets[name] }, {
    EXPORT_BUCKET           = module.export_bucket.name
    EXPORT_PREFIX           = var.export_prefix
    COMPLETION_TOPIC        = module.completion_topic.name
    REFRESHED_TOPIC         = module.refreshed_topic.name
    MAXIMUM_BYTES_BILLED    = tostring(var.maximum_bytes_billed)
    MAX_BUILDS              = tostring(var.max_builds)
    RETENTION_DAYS          = tostring(var.retention_days)
    RECONCILE_AFTER_MINUTES = tostring(var.reconcile_after_minutes)
  })

  hourly_environment = {
    HOURLY_BUCKET     = module.hourly_bucket.name
    HOURLY_PREFIX     = var.hourly_prefix
    HOURLY_START      = var.hourly_start
    HOURLY_LATE_HOURS = tostring(var.hourly_late_hours)
    HOURLY_MAX_HOURS  = tostring(var.hourly_max_hours)
  }

  environment = {
    for name, flow in {
      bq_export     = local.daily_environment
      gcs_import    = local.daily_environment
      mv_refresh    = local.daily_environment
      hourly_export = merge(local.daily_environment, local.hourly_environment, { HOUR_DONE_TOPIC = module.hour_done_topic.name })
      status        = local.hourly_environment
    } : name => merge(local.common_environment, local.database_environment[name], flow, { FUNCTION_TIMEOUT_SECONDS = tostring(var.limits[name].timeout_seconds) })
  }

  descriptions = {
    bq_export     = "Exports tables from BigQuery to Cloud Storage"
    gcs_import    = "Stages the parts of a snapshot in PostgreSQL and publishes it"
    mv_refresh    = "Rebuilds the views of a table that was published"
    hourly_export = "Exports the API's log to BigQuery, hour by hour"
    status        = "Shows how things stand"
  }

  triggers = {
    gcs_import = { bucket = module.export_bucket.name, topic = null }
    mv_refresh = { bucket = null, topic = module.completion_topic.id }
  }

  callers   = { for member in var.callers : member => member }
  scheduler = var.schedules.enabled ? { scheduler = google_service_account.scheduler.member } : {}

  ingress = { bq_export = var.call_ingress, hourly_export = var.call_ingress, status = var.status_ingress }

  invokers = {
    bq_export     = merge(local.scheduler, local.callers)
    gcs_import    = { trigger = google_service_account.trigger.member }
    mv_refresh    = { trigger = google_service_account.trigger.member }
    hourly_export = merge(local.scheduler, local.callers)
    status        = { for member in toset(concat(var.status_viewers, var.callers)) : member => member }
  }
}

module "function" {
  source   = "./modules/function"
  for_each = toset(local.functions)

  name                  = "${local.prefix}-${replace(each.key, "_", "-")}"
  description           = local.descriptions[each.key]
  region                = var.region
  entry_point           = each.key
  service_account_email = google_service_account.runtime[each.key].email
  environment           = local.environment[each.key]
  limits                = var.limits[each.key]
  vpc                   = local.vpc
  ingress               = lookup(local.ingress, each.key, "ALLOW_INTERNAL_ONLY")
  invokers              = lookup(local.invokers, each.key, {})

  source_archive = {
    bucket = module.source_bucket.name
    object = google_storage_bucket_object.archive[each.key].name
  }

  build = {
    service_account = "projects/${var.project_id}/serviceAccounts/${google_service_account.build.email}"
    repository      = "projects/${var.project_id}/locations/${var.region}/repositories/${google_artifact_registry_repository.functions.repository_id}"
  }

  database_secret = local.iam ? null : {
    project = var.project_id
    name    = each.key == "status" ? module.status_secret[0].name : module.database_secret[0].name
    file    = local.secret_file
  }

  trigger = contains(keys(local.triggers), each.key) ? merge(local.triggers[each.key], {
    service_account_email = google_service_account.trigger.email
    retry                 = var.retry_events
  }) : null

  # A build and a trigger are tried as soon as the function is made.
  depends_on = [
    terraform_data.connections,
    time_sleep.roles,
  ]
}
