variable "name" {
  description = "The function: a folder of functions/."
  type        = string

  validation {
    condition     = fileexists("${local.root}/functions/${var.name}/main.py")
    error_message = "There is no functions/${var.name}/main.py."
  }
}

variable "catalog_folder" {
  description = "The folder that holds the deployment's own catalog.toml and views/; default, what is shipped."
  type        = string
  default     = null
}

variable "root" {
  description = "The folder that holds functions/, shared/ and sql/; default, the repository of this module."
  type        = string
  default     = null
}
