variable "schedules" {
  description = "When Cloud Scheduler calls, in cron's fields. A source that has not changed costs a try one metadata call. `hourly` is for all logs; without it, each is called for at its `minute` in the catalog. `enabled = false` makes no jobs: Airflow, or whoever else is in `callers`, calls. `suffix` ends the jobs' names, where another environment has them already."
  type = object({
    enabled   = optional(bool, true)
    daily     = optional(string, "0,30 4-7 * * *")
    hourly    = optional(string)
    time_zone = optional(string, "Etc/UTC")
    paused    = optional(bool, false)
    suffix    = optional(string, "")
  })
  default  = {}
  nullable = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{0,40}$", var.schedules.suffix))
    error_message = "A suffix of the jobs' names has letters, digits, _ and -, and 40 of them at most."
  }
}

variable "notification_channels" {
  description = "Who is told of alerts: projects/…/notificationChannels/…"
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for channel in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))])
    error_message = "A channel is named projects/<project>/notificationChannels/<id>."
  }
}

variable "alerts" {
  description = <<-EOT
    From when on somebody is woken. `snapshot_by_hour` is in UTC, and counts what has come since `snapshot_from_hour`, the first try of
    the morning. A view's build is cut off with its function, so it alerts at half of that time.
  EOT
  type = object({
    snapshot_from_hour   = optional(number, 4)
    snapshot_by_hour     = optional(number, 9)
    hour_late_hours      = optional(number, 2)
    retries_in_30m       = optional(number, 20)
    oldest_event_minutes = optional(number, 60)
    refresh_seconds      = optional(number, 270)
    connection_share     = optional(number, 0.8)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.alerts.snapshot_by_hour > var.alerts.snapshot_from_hour && var.alerts.snapshot_by_hour <= 23
    error_message = "Snapshots are expected between snapshot_from_hour and snapshot_by_hour, both in UTC, on one day."
  }

  validation {
    condition     = var.alerts.connection_share > 0 && var.alerts.connection_share < 1
    error_message = "connection_share is a share of the connections, between 0 and 1."
  }
}
