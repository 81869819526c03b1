variable "name" {
  description = "Name of the job."
  type        = string
}

variable "description" {
  description = "What the job is for."
  type        = string
}

variable "region" {
  description = "Region of the job."
  type        = string
}

variable "schedule" {
  description = "When it calls, in cron's five fields."
  type        = string

  validation {
    condition     = length(split(" ", var.schedule)) == 5
    error_message = "A schedule has five fields: minute, hour, day of the month, month, day of the week."
  }
}

variable "time_zone" {
  description = "Time zone of the schedule."
  type        = string
  default     = "Etc/UTC"
}

variable "enabled" {
  description = "Make the job at all. false leaves the calls to others."
  type        = bool
  default     = true
}

variable "paused" {
  description = "Keep the job, and let it call nothing."
  type        = bool
  default     = false
}

variable "function" {
  description = "The function to call, which lets the account in: its address."
  type        = object({ uri = string })
}

variable "body" {
  description = "The JSON body of the call."
  type        = any
  default     = {}
}

variable "service_account" {
  description = "Whom the call comes from."
  type        = object({ email = string })
}

variable "deadline_seconds" {
  description = "How long an answer is waited for: no less than the function may run, or a call that is at work is made again."
  type        = number

  validation {
    condition     = var.deadline_seconds >= 15 && var.deadline_seconds <= 1800
    error_message = "Cloud Scheduler waits 15 to 1800 seconds for an HTTP target."
  }
}

variable "retry" {
  description = "How often a failed call is repeated, and with which pauses, in seconds."
  type = object({
    count       = optional(number, 3)
    min_backoff = optional(number, 60)
    max_backoff = optional(number, 600)
    doublings   = optional(number, 3)
  })
  default = {}

  validation {
    condition     = var.retry.count >= 0 && var.retry.count <= 5
    error_message = "Cloud Scheduler repeats a call 0 to 5 times."
  }
}
