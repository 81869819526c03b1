variable "project_id" {
  description = "The project that the tests run in."
  type        = string
}

variable "region" {
  description = "Where everything is made."
  type        = string
}

variable "environment" {
  description = "The run's own name: part of the name of everything, so that a run meets neither another nor a deployment."
  type        = string
}

variable "postgres" {
  description = "The version of PostgreSQL."
  type        = number
  default     = 15
}

variable "direct" {
  description = "Make the subnetwork large enough for the functions' own addresses, instead of one for a connector."
  type        = bool
  default     = false
}

variable "administrator_password" {
  description = "Of the database's administrator. In no plan and no state; not needed to destroy."
  type        = string
  default     = null
  ephemeral   = true
}
