variable "project_id" {
  description = "The project of logs and metrics."
  type        = string
}

variable "environment" {
  description = "Part of the metrics' names."
  type        = string
}

variable "functions" {
  description = "The Cloud Run service of each function, by the function's name."
  type        = map(string)
}

variable "event_functions" {
  description = "The functions that Eventarc calls."
  type        = list(string)
}

variable "daily_tables" {
  description = "The tables of which a snapshot is expected every day."
  type        = list(string)
}

variable "logs" {
  description = "The logs of which every hour is expected."
  type        = list(string)
}

variable "cloud_sql" {
  description = "The instance whose connections are watched, and how many it takes."
  type        = object({ instance = string, connection_limit = number })
}

variable "dead_letter_subscriptions" {
  description = "Subscriptions where dead letters wait for somebody."
  type        = list(string)
  default     = []
}

variable "notification_channels" {
  description = "Who is told: projects/…/notificationChannels/…"
  type        = list(string)
  default     = []
}

variable "alerts" {
  description = "From when on somebody is woken. Hours of the day are UTC."
  type = object({
    snapshot_from_hour   = number
    snapshot_by_hour     = number
    hour_late_hours      = number
    retries_in_30m       = number
    oldest_event_minutes = number
    refresh_seconds      = number
    connection_share     = number
  })

  validation {
    condition     = var.alerts.hour_late_hours >= 2
    error_message = "An hour is exported in the hour after it: it is late after 2 hours at the earliest."
  }
}
