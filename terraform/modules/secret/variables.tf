variable "name" {
  description = "Name of the secret."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,255}$", var.name))
    error_message = "A secret's name has 1 to 255 letters, digits, hyphens or underscores."
  }
}

variable "region" {
  description = "Where the value is kept."
  type        = string
}

variable "value" {
  description = "What to put in, once for each value_version. It is in no plan and no state."
  type        = string
  default     = null
  ephemeral   = true
}

variable "value_version" {
  description = "Number of `value`: another one writes it anew. null leaves the versions that are there, and others to whoever adds them."
  type        = number
  default     = null
}

variable "accessors" {
  description = "Members that may read the value, by a name of their own."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for member in var.accessors : !contains(["allUsers", "allAuthenticatedUsers"], member)])
    error_message = "Nobody is granted a role without being named: allUsers and allAuthenticatedUsers are refused."
  }
}

variable "deletion_protection" {
  description = "Refuse to delete the secret."
  type        = bool
  default     = true
}
