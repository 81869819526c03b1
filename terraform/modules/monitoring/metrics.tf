# What the functions log (shared/log.py: each line has `message`, `logger`, and what is being worked on) as numbers.
# `messages` are whole lines, `beginnings` how lines begin; a test holds both against the code.

locals {
  metrics = {
    snapshots = {
      description = "Tables that were published, or whose source was found unchanged"
      messages    = ["snapshot published", "source unchanged"]
      labels      = { table = "jsonPayload.table" }
    }
    held = {
      description = "Snapshots that wait for somebody's decision"
      beginnings  = ["snapshot held: "]
      labels      = { table = "jsonPayload.table" }
    }
    hours = {
      description = "Hours that were exported and verified, or found empty"
      beginnings  = ["hour is "]
      only        = "jsonPayload.state=(\"done\" OR \"empty\" OR \"deleted\")"
      labels      = { log = "jsonPayload.table" }
    }
    errors = {
      description = "Failures that need a human: permanent ones, wrong deployments, bugs"
      # What a repetition mends is counted as a retry, and a held snapshot by itself.
      only   = "severity>=ERROR AND (NOT jsonPayload.retryable=true OR jsonPayload.error=\"ConfigurationError\") AND NOT jsonPayload.message=~\"^snapshot held: \""
      labels = { error = "jsonPayload.error" }
    }
    retries = {
      description = "Calls and events that are to be repeated"
      beginnings  = ["event to be retried: ", "call to be retried: "]
      labels      = {}
    }
    refresh_seconds = {
      description = "How long the build of a view took"
      messages    = ["view built"]
      labels      = { view = "jsonPayload.view" }
      value       = "jsonPayload.seconds"
    }
    lost_events = {
      description = "Events that were lost, and sent again"
      beginnings  = ["lost event: "]
      labels      = { table = "jsonPayload.table" }
    }
  }

  services = join(" OR ", [for name in sort(values(var.functions)) : "\"${name}\""])

  # Lines of the suite, by its own logger; of Cloud Run, by their absence of one.
  ours   = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=(${local.services}) AND jsonPayload.logger=\"recosync\""
  theirs = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=(${local.services}) AND log_id(\"run.googleapis.com/varlog/system\") AND severity>=ERROR"

  filters = {
    for name, metric in local.metrics : name => join(" AND ", compact([
      local.ours,
      can(metric.messages) ? "jsonPayload.message=(${join(" OR ", [for text in metric.messages : jsonencode(text)])})" : "",
      can(metric.beginnings) ? "jsonPayload.message=~\"^(${join("|", metric.beginnings)})\"" : "",
      try(metric.only, ""),
    ]))
  }

  underscored = replace(var.environment, "-", "_")

  # As PromQL spells them.
  series = {
    for name in concat(keys(local.metrics), ["killed"]) : name => "logging_googleapis_com:user_recosync_${local.underscored}_${name}"
  }
  of_functions = "monitored_resource=\"cloud_run_revision\""
}

resource "google_logging_metric" "this" {
  for_each = local.metrics

  name             = "recosync_${local.underscored}_${each.key}"
  description      = each.value.description
  filter           = local.filters[each.key]
  label_extractors = { for label, path in each.value.labels : label => "EXTRACT(${path})" }
  value_extractor  = can(each.value.value) ? "EXTRACT(${each.value.value})" : null

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = can(each.value.value) ? "DISTRIBUTION" : "INT64"
    unit        = can(each.value.value) ? "s" : "1"

    dynamic "labels" {
      for_each = each.value.labels
      content {
        key        = labels.key
        value_type = "STRING"
      }
    }
  }

  dynamic "bucket_options" {
    for_each = can(each.value.value) ? [each.value.value] : []
    content {
      # 1 s to 20 min, a quarter more each.
      exponential_buckets {
        scale              = 1
        growth_factor      = 1.25
        num_finite_buckets = 32
      }
    }
  }
}

resource "google_logging_metric" "killed" {
  name        = "recosync_${local.underscored}_killed"
  description = "Instances that Cloud Run could not start, or stopped: out of memory, out of time"
  filter      = local.theirs

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }
}
