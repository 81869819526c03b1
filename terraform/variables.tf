variable "project_id" {
  description = "The project that holds everything. A second environment in it needs `bucket_names` and `schedules.suffix`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "A project's id has 6 to 30 lowercase letters, digits or hyphens, a letter first."
  }
}

variable "catalog_folder" {
  description = "A folder of your own with catalog.toml, terraform.json and views/, as `recosync init` writes one. Default, what is shipped."
  type        = string
  default     = null

  validation {
    condition     = var.catalog_folder == null || fileexists("${coalesce(var.catalog_folder, ".")}/catalog.toml")
    error_message = "The folder has no catalog.toml: `recosync init FOLDER` writes one."
  }

  validation {
    condition = (
      try(jsondecode(file("${coalesce(var.catalog_folder, "${path.module}/../shared")}/terraform.json")).catalog_sha256, "") ==
      try(filesha256("${coalesce(var.catalog_folder, "${path.module}/../shared")}/catalog.toml"), "")
    )
    error_message = "Beside catalog.toml, terraform.json is missing or was made of another one. Write it, and commit it: `recosync --catalog FOLDER catalog terraform`."
  }
}

variable "environment" {
  description = "A short name such as dev, stg or prod: part of most names, with underscores for dashes in those of data sets, and ENV_SHORT_NAME of the functions."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?$", var.environment))
    error_message = "The environment is a short name of 1 to 12 lowercase letters, digits and dashes, with no dash at its ends: dev, prod, eu-staging-2."
  }
}

variable "region" {
  description = "Where everything runs: the region of the Cloud SQL instance."
  type        = string
  nullable    = false

  validation {
    # Where Cloud Functions of the second generation, Cloud Scheduler and Eventarc are all to be had.
    condition = contains([
      "africa-south1", "asia-east1", "asia-east2", "asia-northeast1", "asia-northeast2", "asia-northeast3",
      "asia-south1", "asia-south2", "asia-southeast1", "asia-southeast2", "australia-southeast1",
      "australia-southeast2", "europe-central2", "europe-north1", "europe-southwest1", "europe-west1",
      "europe-west2", "europe-west3", "europe-west4", "europe-west6", "europe-west8", "europe-west9",
      "europe-west10", "europe-west12", "me-central1", "me-central2", "me-west1", "northamerica-northeast1",
      "northamerica-northeast2", "southamerica-east1", "southamerica-west1", "us-central1", "us-east1", "us-east4",
      "us-east5", "us-south1", "us-west1", "us-west2", "us-west3", "us-west4",
    ], var.region)
    error_message = "The region is none that Cloud Functions runs in: name one such as europe-west1, no zone and no multi-region."
  }
}

variable "bigquery_location" {
  description = "Where tmp_ and raw_ are made. It has to be the place of the sources' data sets, where the jobs run. null is that place; without sources, the region."
  type        = string
  default     = null
}

variable "source_datasets" {
  description = "The existing data sets that the catalog names by variables, as dataset or project.dataset, by the variable's name. BIGQUERY_ML_RECOMMENDATION_DATASET and BIGQUERY_SEED_DATASET may be called ml_recommendation and seed."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in values(var.source_datasets) : can(regex("^(([a-z0-9.-]+:)?[a-z][a-z0-9-]+[.])?[A-Za-z0-9_]+$", name))])
    error_message = "A data set is named dataset or project.dataset; its id has letters, digits and underscores."
  }

  validation {
    condition     = length([for name in local.catalog.source_variables : name if !can(var.source_datasets[name]) && !can(var.source_datasets[local.short_names[name]])]) == 0
    error_message = "The catalog names data sets that source_datasets lacks: ${join(", ", [for name in local.catalog.source_variables : name if !can(var.source_datasets[name]) && !can(var.source_datasets[local.short_names[name]])])}."
  }
}

variable "grant_sources" {
  description = "Let bq_export read the data sets of the sources. false leaves that to their owner, who has to grant roles/bigquery.dataViewer: say so where the owner's own Terraform writes all grants of a data set (`access` blocks, or an authoritative IAM resource), which would take this one away."
  type        = bool
  default     = true
  nullable    = false
}

variable "keep_data" {
  description = "Let `terraform destroy` stop at buckets and data sets that hold something, at the raw tables and at the secrets. false deletes all of it."
  type        = bool
  default     = true
  nullable    = false
}

variable "status_viewers" {
  description = "Who may look at the status page: user:…, group:…, serviceAccount:… or domain:…"
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.status_viewers : can(regex("^(user|group|serviceAccount|domain|principal|principalSet):.+$", member))])
    error_message = "A viewer is named with its kind, such as group:data@example.com; allUsers and allAuthenticatedUsers are refused."
  }
}

variable "completion_subscriptions" {
  description = "Subscriptions of others to the publications, by name: the member that pulls, or the endpoint that messages are pushed to. Each gets a dead letter topic."
  type = map(object({
    subscriber    = string
    push_endpoint = optional(string)
    push_identity = optional(string)
    max_attempts  = optional(number, 10)
    ack_seconds   = optional(number, 60)
  }))
  default  = {}
  nullable = false
}

variable "refreshed_subscriptions" {
  description = "As completion_subscriptions, to the refreshed messages. With `ordered`, messages of one view come in order."
  type = map(object({
    subscriber    = string
    push_endpoint = optional(string)
    push_identity = optional(string)
    max_attempts  = optional(number, 10)
    ack_seconds   = optional(number, 60)
    ordered       = optional(bool, false)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = length(setintersection(keys(var.refreshed_subscriptions), keys(var.completion_subscriptions))) == 0
    error_message = "A subscription's name is the project's: one that completion_subscriptions has is taken."
  }
}

variable "hour_done_subscriptions" {
  description = "As completion_subscriptions, to the messages of hours. With `ordered`, messages of one log come in order."
  type = map(object({
    subscriber    = string
    push_endpoint = optional(string)
    push_identity = optional(string)
    max_attempts  = optional(number, 10)
    ack_seconds   = optional(number, 60)
    ordered       = optional(bool, false)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = length(setintersection(keys(var.hour_done_subscriptions), concat(keys(var.completion_subscriptions), keys(var.refreshed_subscriptions)))) == 0
    error_message = "A subscription's name is the project's: one that completion_subscriptions or refreshed_subscriptions has is taken."
  }
}
