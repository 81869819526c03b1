variable "name" {
  description = "Short name of the topic."
  type        = string
}

variable "region" {
  description = "Where messages are stored."
  type        = string
}

variable "retention_hours" {
  description = "How long a message can be asked for again after it was delivered."
  type        = number
  default     = 24
}

variable "project_number" {
  description = "Number of the project; its Pub/Sub agent moves dead letters."
  type        = string
}

variable "subscriptions" {
  description = "Subscriptions of others, by name. Each has a dead letter topic with a subscription that keeps what lands there."
  type = map(object({
    subscriber    = string
    push_endpoint = optional(string)
    push_identity = optional(string)
    max_attempts  = optional(number, 10)
    ack_seconds   = optional(number, 60)
    ordered       = optional(bool, false)
  }))
  default = {}

  validation {
    condition     = alltrue([for s in var.subscriptions : s.max_attempts >= 5 && s.max_attempts <= 100])
    error_message = "Pub/Sub counts 5 to 100 attempts before a message is a dead letter."
  }

  validation {
    condition     = alltrue([for s in var.subscriptions : (s.push_endpoint == null) == (s.push_identity == null)])
    error_message = "A push subscription needs both push_endpoint and push_identity, the service account of its token."
  }

  validation {
    condition     = alltrue([for s in var.subscriptions : !contains(["allUsers", "allAuthenticatedUsers"], s.subscriber)])
    error_message = "Nobody is granted a role without being named: allUsers and allAuthenticatedUsers are refused."
  }
}

variable "grants" {
  description = "Roles on this topic, by a name of their own."
  type        = map(object({ role = string, member = string }))
  default     = {}

  validation {
    condition     = alltrue([for grant in var.grants : !contains(["allUsers", "allAuthenticatedUsers"], grant.member)])
    error_message = "Nobody is granted a role without being named: allUsers and allAuthenticatedUsers are refused."
  }
}
