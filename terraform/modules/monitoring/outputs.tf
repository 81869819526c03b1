output "alerts" {
  description = "The heading in docs/runbook.md of each alert policy."
  value       = { for name, alert in merge(local.conditions, local.thresholds, local.dead_letters) : name => alert.title }
}

output "metrics" {
  description = "The log-based metrics and their filters."
  value       = merge(local.filters, { killed = local.theirs })
}
