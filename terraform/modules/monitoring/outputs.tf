output "alerts" {
  description = "The heading in docs/runbook.md of each alert policy."
  value       = { for name, alert in merge(local.conditions, local.thresholds, local.dead_letters) : name => alert.title }
}

output "metrics" {
  description = "The log-based metrics and their filters."
  value       = merge(local.filters, { killed = local.theirs })
}

output "policies" {
  description = "The name of each alert policy."
  value       = sort([for policy in concat(values(google_monitoring_alert_policy.promql), values(google_monitoring_alert_policy.threshold)) : policy.display_name])
}
