variable "cloud_sql" {
  description = "The existing Cloud SQL instance. `connection_limit` is its max_connections, `reserved_connections` what the API and people need of it."
  type = object({
    instance             = string
    connection_limit     = number
    reserved_connections = number
  })
  nullable = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*$", var.cloud_sql.instance))
    error_message = "The instance is named by its id, without project and region."
  }

  validation {
    condition     = var.cloud_sql.reserved_connections >= 3 && var.cloud_sql.reserved_connections < var.cloud_sql.connection_limit
    error_message = "At least 3 connections stay reserved (PostgreSQL keeps them for superusers), and fewer than there are."
  }
}

variable "vpc" {
  description = "The way to the instance's private address. `direct` is a subnetwork (its name, or projects/…/subnetworks/… of a host project) of /26 or larger, in which each instance of a function has an address: it costs nothing of its own. Or an existing Serverless VPC Access connector (projects/…/connectors/…), or `subnetwork`, of /28, for one that is made here."
  type = object({
    direct = optional(object({
      subnetwork = string
      network    = optional(string)
      tags       = optional(list(string), [])
    }))
    connector     = optional(string)
    subnetwork    = optional(string)
    host_project  = optional(string)
    min_instances = optional(number, 2)
    max_instances = optional(number, 4)
  })
  nullable = false

  validation {
    condition     = length([for way in [var.vpc.direct, var.vpc.connector, var.vpc.subnetwork] : way if way != null]) == 1
    error_message = "Name one way: direct, an existing connector, or the subnetwork for a new one."
  }
}

variable "database_urls" {
  description = "The URLs of the loader's role and of the status page's, to write into the secrets on this apply. In no plan and no state; with database_urls_version."
  type = object({
    loader = string
    status = string
  })
  default   = null
  ephemeral = true

  validation {
    condition     = (var.database_urls == null) == (var.database_urls_version == null)
    error_message = "Give both database_urls and database_urls_version, or neither: without them, what is in the secrets stays."
  }

  validation {
    condition     = var.database_urls == null ? true : alltrue([for url in values(var.database_urls) : can(regex("^postgres(ql)?://[^/]+/.+$", url))])
    error_message = "A database URL is postgresql://<user>:<password>@<host>/<database>."
  }
}

variable "database_iam" {
  description = "IAM database authentication instead of a password: each function logs in with its own account, and takes on the role `loader`, or `status`. `host` is the instance's private address. No secret is made then."
  type = object({
    host     = string
    database = string
    loader   = optional(string, "loader")
    status   = optional(string, "status")
  })
  default = null

  validation {
    condition     = var.database_iam == null || var.database_urls_version == null
    error_message = "Give database_urls, which have passwords, or database_iam, which needs none."
  }

  validation {
    condition     = var.database_iam == null ? true : can(regex("^([A-Za-z0-9.-]+|\\[[0-9A-Fa-f:]+\\])$", var.database_iam.host))
    error_message = "The host is an address or a name, without a port; an IPv6 address stands in brackets."
  }

  validation {
    condition     = var.database_iam == null ? true : alltrue([for name in [var.database_iam.database, var.database_iam.loader, var.database_iam.status] : can(regex("^[A-Za-z_][A-Za-z0-9_-]*$", name))])
    error_message = "The database and the roles have names of letters, digits, _ and -."
  }
}

variable "database_urls_version" {
  description = "With database_urls: a number other than the last one writes them. null leaves what is in the secrets, and versions to whoever adds them."
  type        = number
  default     = null
}
