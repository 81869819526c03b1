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
  description = "The jobs of Cloud Scheduler: the daily one, and one for each log. Without logs, that of past_offer_context looks for lost events."
  value       = { daily = module.daily_schedule.name, hourly = { for log, job in module.hourly_schedule : log => job.name } }
}

output "connections" {
  description = "How many connections the functions may hold together, and how many are free for them."
  value       = { needed = local.connections_needed, free = local.connections_free }
}

output "alerts" {
  description = "The heading in docs/runbook.md of each alert policy."
  value       = module.monitoring.alerts
}
