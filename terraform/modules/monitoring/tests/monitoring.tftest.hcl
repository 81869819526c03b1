mock_provider "google" {}

variables {
  project_id      = "example-project"
  environment     = "dev"
  functions       = { bq_export = "recosync-dev-bq-export", gcs_import = "recosync-dev-gcs-import", mv_refresh = "recosync-dev-mv-refresh" }
  event_functions = ["gcs_import", "mv_refresh"]
  daily_tables    = ["enriched_user", "iris_france"]
  logs            = ["past_offer_context"]
  cloud_sql       = { instance = "recommendation-dev", connection_limit = 100 }
  alerts = {
    snapshot_from_hour   = 4
    snapshot_by_hour     = 9
    hour_late_hours      = 2
    retries_in_30m       = 20
    oldest_event_minutes = 60
    refresh_seconds      = 270
    connection_share     = 0.8
  }
}

run "alerts" {
  command = plan

  variables {
    notification_channels = ["projects/example-project/notificationChannels/1"]
  }

  assert {
    condition = toset(keys(output.alerts)) == toset([
      "snapshot_missing", "hour_late", "permanent_error", "snapshot_held", "retries_pile_up", "refresh_slow",
      "instance_killed", "events_wait", "connections_exhausted",
    ])
    error_message = "Each way to go wrong has an alert."
  }
  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.promql : policy.notification_channels == tolist(["projects/example-project/notificationChannels/1"])])
    error_message = "Somebody is told."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.promql["snapshot_missing"].documentation[0].content, "docs/runbook.md#a-daily-snapshot-is-missing")
    error_message = "An alert says where to read on."
  }
  assert {
    condition     = alltrue([for table in var.daily_tables : strcontains(google_monitoring_alert_policy.promql["snapshot_missing"].conditions[0].condition_prometheus_query_language[0].query, "\"${table}\"")])
    error_message = "Each table is expected by name."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.promql["snapshot_missing"].conditions[0].condition_prometheus_query_language[0].query, "hour() < bool 9") && strcontains(google_monitoring_alert_policy.promql["snapshot_missing"].conditions[0].condition_prometheus_query_language[0].query, "- 3) * 3600)")
    error_message = "It is expected by 9:00 to be as fresh as from 4:00 on, with an hour for the gauge."
  }
  assert {
    condition     = google_monitoring_alert_policy.threshold["connections_exhausted"].conditions[0].condition_threshold[0].threshold_value == 80
    error_message = "80 of 100 connections are too many."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.threshold["events_wait"].conditions[0].condition_threshold[0].filter, "eventarc-.*-(recosync-dev-gcs-import|recosync-dev-mv-refresh)-.*")
    error_message = "Both of Eventarc's subscriptions are watched."
  }
}

run "metrics" {
  command = plan

  assert {
    condition     = toset([for metric in google_logging_metric.this : metric.name]) == toset([for name in ["snapshots", "held", "hours", "errors", "retries", "refresh_seconds", "lost_events"] : "recosync_dev_${name}"])
    error_message = "What alerts and dashboard count is counted."
  }
  assert {
    condition     = google_logging_metric.this["refresh_seconds"].value_extractor == "EXTRACT(jsonPayload.seconds)" && google_logging_metric.this["refresh_seconds"].metric_descriptor[0].value_type == "DISTRIBUTION"
    error_message = "The seconds of a build are a distribution."
  }
  assert {
    condition     = strcontains(google_logging_metric.this["snapshots"].filter, "jsonPayload.message=(\"snapshot published\" OR \"source unchanged\")")
    error_message = "An unchanged source is as good as a new snapshot."
  }
}

run "one_page" {
  command = plan

  assert {
    condition     = length(jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles) == 13
    error_message = "The flow and its charts are on one dashboard."
  }
  assert {
    condition = alltrue([
      for tile in jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles :
      can(tile.widget.text) ? true : length(tile.widget.xyChart.dataSets[0].timeSeriesQuery) == 1
    ])
    error_message = "Each chart has one query."
  }
}

run "dead_letters" {
  command = plan

  variables {
    dead_letter_subscriptions = ["cache-dead-letter"]
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.threshold["dead_letters"].conditions[0].condition_threshold[0].filter, "\"cache-dead-letter\"")
    error_message = "Where there are dead letters, they are watched."
  }
}

run "no_tables" {
  command = plan

  variables {
    daily_tables = []
  }

  assert {
    condition     = !contains(keys(google_monitoring_alert_policy.promql), "snapshot_missing") && !contains(keys(output.alerts), "snapshot_missing")
    error_message = "Where there is no table, no snapshot is missing."
  }
}

run "no_logs" {
  command = plan

  variables {
    logs = []
  }

  assert {
    condition     = !contains(keys(google_monitoring_alert_policy.promql), "hour_late") && !contains(keys(output.alerts), "hour_late")
    error_message = "Where there is no log, none is late."
  }
}
