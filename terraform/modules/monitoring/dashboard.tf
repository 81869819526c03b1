locals {
  # From left to right as the rows travel, four to a line.
  charts = [
    { title = "Snapshots published or unchanged, a day", query = "sum by (table) (increase(${local.series.snapshots}{${local.of_functions}}[24h]))" },
    { title = "Oldest event that waits, seconds", filter = local.thresholds.events_wait.filter, aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", group_by = ["resource.label.subscription_id"] },
    { title = "Views: seconds to build, 99 %", query = "histogram_quantile(0.99, sum by (le, view) (increase(${local.series.refresh_seconds}_bucket{${local.of_functions}}[1h])))" },
    { title = "Hours verified or empty, an hour", query = "sum by (log) (increase(${local.series.hours}{${local.of_functions}}[1h]))" },

    { title = "Snapshots held", query = "sum by (table) (increase(${local.series.held}{${local.of_functions}}[1h]))" },
    { title = "Events lost and sent again", query = "sum by (table) (increase(${local.series.lost_events}{${local.of_functions}}[1h]))" },
    { title = "Calls and events to be retried", query = "sum by (service_name) (increase(${local.series.retries}{${local.of_functions}}[10m]))" },
    { title = "Failures that need a human", query = "sum by (service_name, error) (increase(${local.series.errors}{${local.of_functions}}[10m]))" },

    { title = "Calls, by answer", filter = "${local.run} AND metric.type = \"run.googleapis.com/request_count\"", aligner = "ALIGN_DELTA", group_by = ["resource.label.service_name", "metric.label.response_code_class"] },
    { title = "Instances", filter = "${local.run} AND metric.type = \"run.googleapis.com/container/instance_count\"", aligner = "ALIGN_MAX", group_by = ["resource.label.service_name"] },
    { title = "Memory in use, 99 %", filter = "${local.run} AND metric.type = \"run.googleapis.com/container/memory/utilizations\"", aligner = "ALIGN_PERCENTILE_99", reducer = "REDUCE_MAX", group_by = ["resource.label.service_name"] },
    { title = "PostgreSQL: connections (${var.cloud_sql.connection_limit} at most)", filter = local.thresholds.connections_exhausted.filter, aligner = "ALIGN_MAX", group_by = ["resource.label.database"] },
  ]

  run = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = one_of(${join(", ", [for name in sort(values(var.functions)) : jsonencode(name)])})"

  flow = <<-EOT
    **Daily** Scheduler → bq_export → export bucket → gcs_import → PostgreSQL → completion topic → mv_refresh → views
    **Hourly** Scheduler → hourly_export → hourly bucket → BigQuery
    What stands: the status page, or `recosync status`. What to do: docs/runbook.md
  EOT
}

resource "google_monitoring_dashboard" "this" {
  dashboard_json = jsonencode({
    displayName = "recosync ${var.environment}"
    mosaicLayout = {
      columns = 48
      tiles = concat(
        [{ xPos = 0, yPos = 0, width = 48, height = 6, widget = { title = "The flow", text = { content = local.flow, format = "MARKDOWN" } } }],
        [
          for index, chart in local.charts : {
            xPos   = index % 4 * 12
            yPos   = 6 + floor(index / 4) * 14
            width  = 12
            height = 14
            widget = {
              title = chart.title
              xyChart = {
                dataSets = [{
                  plotType = "LINE"
                  timeSeriesQuery = {
                    for kind, query in {
                      prometheusQuery  = try(chart.query, null)
                      timeSeriesFilter = try(local.filtered[chart.title], null)
                    } : kind => query if query != null
                  }
                }]
              }
            }
          }
        ]
      )
    }
  })
}

locals {
  filtered = {
    for chart in local.charts : chart.title => {
      filter = chart.filter
      aggregation = {
        alignmentPeriod    = "300s"
        perSeriesAligner   = chart.aligner
        crossSeriesReducer = try(chart.reducer, "REDUCE_SUM")
        groupByFields      = try(chart.group_by, [])
      }
    } if can(chart.filter)
  }
}
