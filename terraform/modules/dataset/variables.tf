variable "name" {
  description = "Id of the data set."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_]+$", var.name))
    error_message = "A data set's id has letters, digits and underscores."
  }
}

variable "description" {
  description = "What the data set is for."
  type        = string
}

variable "location" {
  description = "Region or multi-region."
  type        = string
}

variable "table_expiration_hours" {
  description = "Age at which tables without an expiration of their own are dropped; null keeps them."
  type        = number
  default     = null

  validation {
    condition     = var.table_expiration_hours == null ? true : var.table_expiration_hours >= 1
    error_message = "BigQuery lets tables expire after an hour at the earliest."
  }
}

variable "time_travel_hours" {
  description = "How far back deleted or changed rows can be read: 48 to 168."
  type        = number
  default     = 168
}

variable "force_destroy" {
  description = "Let `terraform destroy` delete the data set with the tables in it."
  type        = bool
  default     = false
}

variable "grants" {
  description = "Roles on this data set, by a name of their own."
  type        = map(object({ role = string, member = string }))
  default     = {}

  validation {
    condition     = alltrue([for grant in var.grants : !contains(["allUsers", "allAuthenticatedUsers"], grant.member)])
    error_message = "Nobody is granted a role without being named: allUsers and allAuthenticatedUsers are refused."
  }
}
