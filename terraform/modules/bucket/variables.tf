variable "name" {
  description = "Name of the bucket, unique in all of Cloud Storage."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$", var.name))
    error_message = "A bucket's name has 3 to 63 lowercase letters, digits, hyphens or underscores."
  }
}

variable "location" {
  description = "Region of the bucket. Its events are delivered in the same region."
  type        = string
}

variable "public_access_prevention" {
  description = "Whether the public can be let in. It can't."
  type        = string
  default     = "enforced"

  validation {
    condition     = var.public_access_prevention == "enforced"
    error_message = "No bucket of this system may become public: public_access_prevention is enforced."
  }
}

variable "delete_after_days" {
  description = "Age at which objects are deleted, for each set of name prefixes; an empty set is all objects."
  type = list(object({
    days     = number
    prefixes = optional(list(string), [])
  }))
  default = []

  validation {
    condition     = alltrue([for rule in var.delete_after_days : rule.days >= 1 && floor(rule.days) == rule.days])
    error_message = "Objects are deleted after whole days, 1 or more."
  }
}

variable "colder_after_days" {
  description = "Age at which objects move to Nearline; null leaves them where they are."
  type        = number
  default     = null
}

variable "soft_delete_days" {
  description = "How long deleted and replaced objects can be restored, and are paid for; 0 is not at all."
  type        = number
  default     = 0

  validation {
    condition     = var.soft_delete_days == 0 || (var.soft_delete_days >= 7 && var.soft_delete_days <= 90)
    error_message = "Cloud Storage keeps deleted objects for 7 to 90 days, or not at all (0)."
  }
}

variable "force_destroy" {
  description = "Let `terraform destroy` delete the bucket with what is in it."
  type        = bool
  default     = false
}

variable "grants" {
  description = "Roles on this bucket, by a name of their own."
  type        = map(object({ role = string, member = string }))
  default     = {}

  validation {
    condition     = alltrue([for grant in var.grants : !contains(["allUsers", "allAuthenticatedUsers"], grant.member)])
    error_message = "Nobody is granted a role without being named: allUsers and allAuthenticatedUsers are refused."
  }
}
