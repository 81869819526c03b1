output "functions" {
  description = "Each function: its name, its address and whom it runs as."
  value = {
    for name, function in module.function : name => {
      name            = function.name
      uri             = function.uri
      service_account = google_service_account.runtime[name].email
    }
  }
}

output "function_environment" {
  description = "The environment variables of each function."
  value       = local.environment
}

output "buckets" {
  description = "Where snapshots and hours are written, and where the code is uploaded to."
  value = {
    export = module.export_bucket.name
    hourly = module.hourly_bucket.name
    source = module.source_bucket.name
  }
}

output "completion_topic" {
  description = "The topic that tells of each publication: projects/…/topics/…"
  value       = module.completion_topic.id
}

output "message_topics" {
  description = "The topics that tell others: of each view that stands, and of each hour that is done."
  value       = { refreshed = module.refreshed_topic.id, hour_done = module.hour_done_topic.id }
}

output "datasets" {
  description = "The data sets that are made here."
  value       = { tmp = module.tmp_dataset.name, raw = module.raw_dataset.name }
}

output "secrets" {
  description = "The secrets that the database URLs go into; null with database_iam."
  value       = { loader = one(module.database_secret[*].name), status = one(module.status_secret[*].name) }
}

output "database_users" {
  description = "What PostgreSQL calls each function's account, to be granted the role that it takes on; null without database_iam."
  value       = local.iam ? local.database_users : null
}

output "schedules" {
  description = "The jobs of Cloud Scheduler: the daily one, and one for each log. Without logs, that of past_offer_context looks for lost events. null and empty with schedules.enabled = false."
  value       = { daily = module.daily_schedule.name, hourly = { for log, job in module.hourly_schedule : log => job.name if var.schedules.enabled } }
}

output "connections" {
  description = "How many connections the functions may hold together, and how many are free for them."
  value       = { needed = local.connections_needed, free = local.connections_free }
}

output "deployment" {
  description = "What is deployed, for `recosync doctor --deployment`."
  value = {
    project = var.project_id
    region  = var.region
    topic   = module.completion_topic.id
    alerts  = module.monitoring.policies

    message_topics = [module.refreshed_topic.id, module.hour_done_topic.id]

    connections = { needed = local.connections_needed, free = local.connections_free }

    functions = {
      for name, function in module.function : name => {
        name            = function.name
        uri             = function.uri
        service_account = google_service_account.runtime[name].email
        archive         = google_storage_bucket_object.archive[name].name
        timeout_seconds = var.limits[name].timeout_seconds
      }
    }

    schedules = !var.schedules.enabled ? [] : concat(
      [{ name = module.daily_schedule.name, function = "bq_export", time_zone = var.schedules.time_zone, paused = var.schedules.paused }],
      [for job in module.hourly_schedule : { name = job.name, function = "hourly_export", time_zone = var.schedules.time_zone, paused = var.schedules.paused }],
    )
  }
}

output "operators_roles" {
  description = "What whoever runs `recosync` needs: the roles, by the resource that each is granted on. It needs its own way to PostgreSQL as well."
  value = {
    (var.project_id)                               = ["roles/bigquery.jobUser", "roles/viewer"]
    "gs://${module.export_bucket.name}"            = ["roles/storage.objectUser", "roles/storage.legacyBucketReader"]
    "gs://${module.hourly_bucket.name}"            = ["roles/storage.objectUser", "roles/storage.legacyBucketReader"]
    (module.completion_topic.id)                   = ["roles/pubsub.publisher"]
    (module.refreshed_topic.id)                    = ["roles/pubsub.publisher"]
    (module.hour_done_topic.id)                    = ["roles/pubsub.publisher"]
    "${var.project_id}.${module.tmp_dataset.name}" = ["roles/bigquery.dataEditor"]
    "the tables of the logs in BigQuery"           = ["roles/bigquery.dataEditor"]
    (join(", ", local.sources))                    = ["roles/bigquery.dataViewer"]
  }
}

output "alerts" {
  description = "The heading in docs/runbook.md of each alert policy."
  value       = module.monitoring.alerts
}
