variable "bucket_names" {
  description = "Names of the buckets; null makes them of the project's id. Set them to adopt buckets that exist."
  type = object({
    export = optional(string)
    hourly = optional(string)
    source = optional(string)
  })
  default  = {}
  nullable = false
}

variable "retention" {
  description = <<-EOT
    How long objects and tables are kept, in days. Snapshots: PostgreSQL holds what a rollback needs, so
    these are for importing again by hand. Hours: as long as they are to be loaded again; their manifests stay, because without them an hour counts as never exported.
  EOT
  type = object({
    snapshots      = optional(number, 14)
    hours          = optional(number, 400)
    hours_colder   = optional(number, 30)
    images         = optional(number, 90)
    raw_partitions = optional(number)
    tmp_hours      = optional(number, 24)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.retention.snapshots >= 7
    error_message = "Snapshots are kept for 7 days or more: a lost event's manifest is sent again, and needs its parts."
  }

  validation {
    condition     = var.retention.hours > var.retention.hours_colder
    error_message = "Hours move to colder storage before they are deleted."
  }

  validation {
    condition     = var.retention.raw_partitions == null ? true : var.retention.raw_partitions >= 8
    error_message = "Partitions of logs are kept for 8 days or more: once a day, the last 7 are counted."
  }
}
