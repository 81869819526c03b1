# Conditions on our own metrics are PromQL: it can say that something did not happen, and it takes a metric that was made
# a moment ago, which a threshold's filter does not.

locals {
  from = var.alerts.snapshot_from_hour
  by   = var.alerts.snapshot_by_hour

  # The last value of a gauge that hourly_export writes after each call (shared/operate/status/gauges.py), whatever the
  # number of its points. After the range, it counts as not written. The places: the label to keep, the name, a label.
  last = "max by (%s) (last_over_time(custom_googleapis_com:recosync_%s{%senvironment=\"${var.environment}\"}[${var.alerts.hour_late_hours + 1}h]))"

  promql = {
    snapshot_missing = {
      title    = "A daily snapshot is missing"
      severity = "CRITICAL"
      meaning  = "Of this table nothing was published today, and nobody found its source unchanged, by ${local.by}:00 UTC."
      # Each table by name, so that it is missing also when no gauge comes. It should be as fresh as the first try of the
      # last morning that is over: of today from that hour on, else of yesterday.
      query = join(" or ", [
        for table in var.daily_tables : join(" ", [
          "label_replace(vector(1), \"table\", \"${table}\", \"\", \"\") unless on(table)",
          "(${format(local.last, "table", "table_age_seconds", "table=\"${table}\",")} <= (scalar(hour()) + 24 * scalar(hour() < bool ${local.by}) - ${local.from - 1}) * 3600)",
        ])
      ])
      # Until the next call of hourly_export has had its turn.
      duration = 3900
    }
    hour_late = {
      title    = "An hour of a log is late"
      severity = "CRITICAL"
      meaning  = "For more than ${var.alerts.hour_late_hours} hours no hour of this log came to BigQuery, or hourly_export no longer says so."
      query = join(" or ", [
        for log in var.logs : join(" ", [
          "label_replace(vector(1), \"log\", \"${log}\", \"\", \"\") unless on(log)",
          "((${format(local.last, "log", "log_age_seconds", "log=\"${log}\",")} <= ${var.alerts.hour_late_hours * 3600})",
          # An hour that is missing behind those that came: none of the calls in that time took it up.
          "unless on(log) (min by (log) (min_over_time(custom_googleapis_com:recosync_log_gaps{log=\"${log}\",environment=\"${var.environment}\"}[${var.alerts.hour_late_hours}h])) > 0))",
        ])
      ])
      # Until the next call of hourly_export has had its turn.
      duration = 3900
    }
    permanent_error = {
      title    = "A failure needs a human"
      severity = "ERROR"
      meaning  = "Something failed that no repetition mends. The log's ERROR line says what, where, and the remedy."
      query    = "sum by (service_name, error) (increase(${local.series.errors}{${local.of_functions}}[5m])) > 0 or ${format(local.last, "environment", "failures", "")} > 0 or ${format(local.last, "log", "log_hours_failed", "")} > 0"
      duration = 0
    }
    snapshot_held = {
      title    = "A snapshot is held"
      severity = "ERROR"
      meaning  = "A snapshot is too unlike the published one. Readers keep what they have until somebody approves or rejects it."
      query    = "sum by (table) (increase(${local.series.held}{${local.of_functions}}[10m])) > 0 or ${format(local.last, "table", "table_held", "")} > 0"
      duration = 0
    }
    retries_pile_up = {
      title    = "Retries pile up"
      severity = "WARNING"
      meaning  = "A function has asked for more than ${var.alerts.retries_in_30m} repetitions in half an hour."
      query    = "sum by (service_name) (increase(${local.series.retries}{${local.of_functions}}[30m])) > ${var.alerts.retries_in_30m}"
      duration = 0
    }
    refresh_slow = {
      title    = "A view takes long to build"
      severity = "WARNING"
      meaning  = "A view took more than ${var.alerts.refresh_seconds} s to build. At the function's timeout the build is cut off, and readers keep the old view."
      query    = "histogram_quantile(0.99, sum by (le, view) (increase(${local.series.refresh_seconds}_bucket{${local.of_functions}}[30m]))) > ${var.alerts.refresh_seconds}"
      duration = 0
    }
    instance_killed = {
      title    = "An instance could not start or was killed"
      severity = "ERROR"
      meaning  = "Cloud Run reports an instance that did not start, or ran out of memory or time."
      query    = "sum by (service_name) (increase(${local.series.killed}{${local.of_functions}}[10m])) > 0"
      duration = 0
    }
  }

  # Without tables, no snapshot is missing; without logs, no hour is late.
  conditions = { for name, alert in local.promql : name => alert if alert.query != "" }

  subscriptions = join("|", [for name in var.event_functions : var.functions[name]])

  thresholds = {
    events_wait = {
      title    = "Events wait to be delivered"
      severity = "ERROR"
      meaning  = "The oldest event of a function waits for more than ${var.alerts.oldest_event_minutes} minutes. Eventarc's subscriptions give up after 24 hours, and have no dead letters."
      # Eventarc names them eventarc-<region>-<function>-<trigger>-sub-<number>.
      filter    = "resource.type = \"pubsub_subscription\" AND metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND resource.labels.subscription_id = monitoring.regex.full_match(\"eventarc-.*-(${local.subscriptions})-.*\")"
      aligner   = "ALIGN_MAX"
      reducer   = "REDUCE_MAX"
      group_by  = ["resource.label.subscription_id"]
      threshold = var.alerts.oldest_event_minutes * 60
      duration  = 300
    }
    connections_exhausted = {
      title     = "PostgreSQL runs out of connections"
      severity  = "CRITICAL"
      meaning   = "More than ${floor(var.alerts.connection_share * 100)} % of the ${var.cloud_sql.connection_limit} connections of ${var.cloud_sql.instance} are taken."
      filter    = "resource.type = \"cloudsql_database\" AND metric.type = \"cloudsql.googleapis.com/database/postgresql/num_backends\" AND resource.labels.database_id = \"${var.project_id}:${var.cloud_sql.instance}\""
      aligner   = "ALIGN_MAX"
      reducer   = "REDUCE_SUM"
      group_by  = ["resource.label.database_id"]
      threshold = floor(var.alerts.connection_share * var.cloud_sql.connection_limit)
      duration  = 120
    }
  }

  dead_letters = length(var.dead_letter_subscriptions) == 0 ? {} : {
    dead_letters = {
      title     = "Dead letters wait"
      severity  = "WARNING"
      meaning   = "A subscriber to the publications has refused a message too often. It is kept for 7 days."
      filter    = "resource.type = \"pubsub_subscription\" AND metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\" AND resource.labels.subscription_id = one_of(${join(", ", [for name in var.dead_letter_subscriptions : jsonencode(name)])})"
      aligner   = "ALIGN_MAX"
      reducer   = "REDUCE_MAX"
      group_by  = ["resource.label.subscription_id"]
      threshold = 0
      duration  = 0
    }
  }
}

resource "google_monitoring_alert_policy" "promql" {
  for_each = local.conditions

  display_name          = "recosync ${var.environment}: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = var.notification_channels

  conditions {
    display_name = each.value.title
    condition_prometheus_query_language {
      query                     = each.value.query
      duration                  = "${each.value.duration}s"
      evaluation_interval       = "300s"
      disable_metric_validation = true
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    subject   = "recosync ${var.environment}: ${each.value.title}"
    mime_type = "text/markdown"
    content   = "${each.value.meaning}\n\nWhat to do: docs/runbook.md#${replace(lower(each.value.title), " ", "-")}"
  }

  depends_on = [google_logging_metric.this, google_logging_metric.killed]
}

resource "google_monitoring_alert_policy" "threshold" {
  for_each = merge(local.thresholds, local.dead_letters)

  display_name          = "recosync ${var.environment}: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = var.notification_channels

  conditions {
    display_name = each.value.title
    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = "${each.value.duration}s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
        group_by_fields      = each.value.group_by
      }
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    subject   = "recosync ${var.environment}: ${each.value.title}"
    mime_type = "text/markdown"
    content   = "${each.value.meaning}\n\nWhat to do: docs/runbook.md#${replace(lower(each.value.title), " ", "-")}"
  }
}
