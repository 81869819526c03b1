variable "name" {
  description = "Name of the function and of its Cloud Run service."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,61}[a-z0-9]$", var.name))
    error_message = "A function's name has at most 63 lowercase letters, digits or hyphens, a letter first."
  }
}

variable "description" {
  description = "What the function does."
  type        = string
}

variable "region" {
  description = "Region of the function and its trigger."
  type        = string
}

variable "entry_point" {
  description = "Name of the function in main.py."
  type        = string
}

variable "source_archive" {
  description = "Where the code is."
  type        = object({ bucket = string, object = string })
}

variable "build" {
  description = "Who builds the container, and the Artifact Registry repository it goes to."
  type        = object({ service_account = string, repository = string })
}

variable "service_account_email" {
  description = "Whom the function runs as."
  type        = string

  validation {
    condition     = !endswith(var.service_account_email, "-compute@developer.gserviceaccount.com") && !endswith(var.service_account_email, "@appspot.gserviceaccount.com")
    error_message = "A function runs as an account of its own, not as a default service account."
  }
}

variable "environment" {
  description = "Environment variables."
  type        = map(string)

  validation {
    condition     = lookup(var.environment, "FUNCTION_TIMEOUT_SECONDS", "") == tostring(var.limits.timeout_seconds)
    error_message = "FUNCTION_TIMEOUT_SECONDS is how long the function lives, limits.timeout_seconds: its locks and statements are timed by it."
  }
}

variable "database_secret" {
  description = "The secret with the database URL, and the file where it is mounted; null for none."
  type        = object({ project = string, name = string, file = string })
  default     = null

  validation {
    condition     = var.database_secret == null ? true : can(regex("^/[a-z0-9_]+/[a-z0-9_]+$", var.database_secret.file))
    error_message = "The secret is mounted as a file in a folder of its own, such as /secrets/database_url."
  }
}

variable "vpc" {
  description = "How the function reaches private addresses: from a subnetwork that its instances are in, or by a connector. With neither it reaches none."
  type = object({
    direct = optional(object({
      subnetwork = string
      network    = optional(string)
      tags       = optional(list(string), [])
    }))
    connector = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.vpc.direct == null || var.vpc.connector == null
    error_message = "A function has one way into the network."
  }
}

variable "limits" {
  description = "What one instance has, and how many there are. One instance works on one call at a time."
  type = object({
    timeout_seconds = number
    memory          = string
    cpu             = string
    min_instances   = number
    max_instances   = number
  })

  validation {
    condition     = var.limits.timeout_seconds >= 10 && var.limits.timeout_seconds <= (var.trigger == null ? 3600 : 540)
    error_message = "A call may take 10 to 3600 seconds, an event 540 at most."
  }

  validation {
    condition     = can(regex("^[0-9]+(Mi|Gi)$", var.limits.memory))
    error_message = "Memory is written like 512Mi or 1Gi."
  }

  validation {
    condition     = var.limits.min_instances >= 0 && var.limits.max_instances >= 1 && var.limits.min_instances <= var.limits.max_instances
    error_message = "There is at least 1 instance at most, and no more are kept warm than there may be."
  }
}

variable "ingress" {
  description = "From where calls are taken: ALLOW_INTERNAL_ONLY lets Cloud Scheduler and Eventarc in."
  type        = string
  default     = "ALLOW_INTERNAL_ONLY"

  validation {
    condition     = contains(["ALLOW_INTERNAL_ONLY", "ALLOW_INTERNAL_AND_GCLB", "ALLOW_ALL"], var.ingress)
    error_message = "Ingress is ALLOW_INTERNAL_ONLY, ALLOW_INTERNAL_AND_GCLB or ALLOW_ALL."
  }
}

variable "invokers" {
  description = "Members that may call the function, by a name of their own."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for member in var.invokers : !contains(["allUsers", "allAuthenticatedUsers"], member)])
    error_message = "Nobody is granted a role without being named: allUsers and allAuthenticatedUsers are refused."
  }
}

variable "trigger" {
  description = "The event that the function is called for, by Eventarc: an object finalized in a bucket, or a message of a topic. null for none."
  type = object({
    bucket                = optional(string)
    topic                 = optional(string)
    service_account_email = string
    retry                 = optional(bool, true)
  })
  default = null

  validation {
    condition     = var.trigger == null ? true : (var.trigger.bucket == null) != (var.trigger.topic == null)
    error_message = "A trigger names a bucket or a topic."
  }
}
