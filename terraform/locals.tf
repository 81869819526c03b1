locals {
  prefix     = "recosync-${var.environment}"
  repository = "${path.module}/.."

  bigquery_location = coalesce(var.bigquery_location, var.region)

  bucket_names = {
    export = coalesce(var.bucket_names.export, "${var.project_id}-recosync-exports")
    hourly = coalesce(var.bucket_names.hourly, "${var.project_id}-recosync-hours")
    source = coalesce(var.bucket_names.source, "${var.project_id}-recosync-source")
  }

  catalog_folder = coalesce(var.catalog_folder, "${local.repository}/shared")

  # Terraform reads no TOML: this file says all that is needed of it. `recosync catalog terraform` writes it.
  catalog = jsondecode(file("${local.catalog_folder}/terraform.json"))

  # Each log with the project and the data set of its BigQuery table. The data set is made here, or is of others.
  logs = {
    for name, log in local.catalog.logs : name => merge(log, {
      for key, found in zipmap(["project", "dataset"], regex("^(?:(.+)\\.)?([^.]+)$", replace(log.dataset, "{env}", var.environment))) :
      key => coalesce(found, var.project_id)
    })
  }
  own_tables = { for name, log in local.logs : name => log.project == var.project_id && log.dataset == "raw_${var.environment}" }
}

data "google_project" "this" {
  project_id = var.project_id
}
