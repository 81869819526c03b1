variable "limits" {
  description = <<-EOT
    What an instance of each function has, and how many there are. The defaults are for the loads of docs/cost.md:
    exports wait for BigQuery, an import of 3 M rows and an hour of 5 M stay below 400 MB with two threads at work, and
    PostgreSQL builds the views. Four imports at once are as many as the tables.
  EOT
  type = object({
    bq_export = optional(object({
      timeout_seconds = optional(number, 1800)
      memory          = optional(string, "512Mi")
      cpu             = optional(string, "1")
      min_instances   = optional(number, 0)
      max_instances   = optional(number, 2)
    }), {})
    gcs_import = optional(object({
      timeout_seconds = optional(number, 540)
      memory          = optional(string, "1Gi")
      cpu             = optional(string, "2")
      min_instances   = optional(number, 0)
      max_instances   = optional(number, 4)
    }), {})
    mv_refresh = optional(object({
      timeout_seconds = optional(number, 540)
      memory          = optional(string, "512Mi")
      cpu             = optional(string, "1")
      min_instances   = optional(number, 0)
      max_instances   = optional(number, 3)
    }), {})
    hourly_export = optional(object({
      timeout_seconds = optional(number, 1800)
      memory          = optional(string, "1Gi")
      cpu             = optional(string, "2")
      min_instances   = optional(number, 0)
      max_instances   = optional(number, 2)
    }), {})
    status = optional(object({
      timeout_seconds = optional(number, 60)
      memory          = optional(string, "512Mi")
      cpu             = optional(string, "1")
      min_instances   = optional(number, 0)
      max_instances   = optional(number, 2)
    }), {})
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name in ["bq_export", "hourly_export"] : var.limits[name].timeout_seconds <= 1800])
    error_message = "Cloud Scheduler waits 1800 seconds at most: bq_export and hourly_export may not run longer."
  }
}

variable "openlineage_url" {
  description = "Where the functions send OpenLineage's events of what they read and write: https://…. Nowhere without it."
  type        = string
  default     = null

  validation {
    condition     = var.openlineage_url == null || can(regex("^https?://[^/ @]+(/[^ ]*)?$", var.openlineage_url))
    error_message = "openlineage_url should be http://… or https://…, without a user and a password in it."
  }
}

variable "retry_events" {
  description = "Deliver an event again, for 24 hours, while its function answers that it can succeed later."
  type        = bool
  default     = true
  nullable    = false
}

variable "callers" {
  description = "Who besides Cloud Scheduler may call bq_export and hourly_export, and read the status, as Airflow does: serviceAccount:… or another member."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.callers : can(regex("^(user|group|serviceAccount|domain|principal|principalSet):.+$", member))])
    error_message = "A caller is named user:…, group:…, serviceAccount:…, domain:…, principal:… or principalSet:…; everybody can't be."
  }
}

variable "call_ingress" {
  description = "From where bq_export and hourly_export are called. Cloud Scheduler, and what runs in a VPC network of the project, is internal. Whoever calls needs roles/run.invoker in any case."
  type        = string
  default     = "ALLOW_INTERNAL_ONLY"
  nullable    = false
}

variable "status_ingress" {
  description = "From where the status page is called. Whoever calls needs roles/run.invoker in any case."
  type        = string
  default     = "ALLOW_ALL"
  nullable    = false
}

variable "export_prefix" {
  description = "Folder of the snapshots in the export bucket."
  type        = string
  default     = "recommendation_exports"
  nullable    = false
}

variable "hourly_prefix" {
  description = "Folder of the hours in the hourly bucket."
  type        = string
  default     = "cloudsql_hourly"
  nullable    = false
}

variable "hourly_start" {
  description = "The first hour (UTC) that hourly_export owns of logs whose blocks in the catalog name no other, YYYYMMDDTHH."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]{8}T([01][0-9]|2[0-3])$", var.hourly_start))
    error_message = "Choose the first hour that the job before did not bring to BigQuery, and write it YYYYMMDDTHH, such as 20260101T00."
  }
}

variable "hourly_late_hours" {
  description = "How many hours back a call of hourly_export looks for late rows."
  type        = number
  default     = 6
  nullable    = false
}

variable "hourly_max_hours" {
  description = "How many hours one call of hourly_export works on."
  type        = number
  default     = 24
  nullable    = false
}

variable "delete_from_source" {
  description = "Whether hourly_export deletes from PostgreSQL exactly the rows that were verified in BigQuery. null: of each log as its block in the catalog says. true: also of the log that a call without table_name is for. false: of none."
  type        = bool
  default     = null
}

variable "maximum_bytes_billed" {
  description = "BigQuery refuses a query of bq_export that would bill more."
  type        = number
  default     = 107374182400
  nullable    = false
}

variable "max_builds" {
  description = "How many views are built at once, over all instances."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = var.max_builds >= 1 && floor(var.max_builds) == var.max_builds
    error_message = "At least one view is built at once."
  }
}

variable "retention_days" {
  description = "How long staged parts that nobody needs any more are left in PostgreSQL."
  type        = number
  default     = 3
  nullable    = false
}

variable "reconcile_after_minutes" {
  description = "How long a snapshot may stand still before hourly_export sends its event again."
  type        = number
  default     = 30
  nullable    = false
}
