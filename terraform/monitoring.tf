module "monitoring" {
  source = "./modules/monitoring"

  project_id                = var.project_id
  environment               = var.environment
  functions                 = { for name, function in module.function : name => function.name }
  event_functions           = keys(local.triggers)
  daily_tables              = local.catalog.tables
  logs                      = keys(local.logs)
  cloud_sql                 = var.cloud_sql
  dead_letter_subscriptions = concat(module.completion_topic.dead_letter_subscriptions, module.refreshed_topic.dead_letter_subscriptions, module.hour_done_topic.dead_letter_subscriptions)
  notification_channels     = var.notification_channels
  alerts                    = var.alerts

  depends_on = [google_project_service.this]
}
