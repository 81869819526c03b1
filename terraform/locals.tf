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

  # Terraform reads no TOML. Only the headings are wanted, and the columns that a log is clustered by: whatever is written
  # otherwise than the catalog's parser takes it fails the plan here, or the tests.
  catalog      = file("${local.catalog_folder}/catalog.toml")
  daily_tables = sort(flatten(regexall("(?m)^\\[tables\\.([A-Za-z0-9_]+)\\]\\s*$", local.catalog)))
  logs = {
    for log in sort(flatten(regexall("(?m)^\\[hourly\\.([A-Za-z0-9_]+)\\]\\s*$", local.catalog))) : log => {
      schema     = file("${local.catalog_folder}/schemas/${log}.json")
      cluster_by = jsondecode(try(regex("(?ms)^\\[hourly\\.${log}\\]\\s*$[^\\[]*?^cluster_by = (\\[[^\\]]*\\])", local.catalog)[0], "[]"))
    }
  }
}

data "google_project" "this" {
  project_id = var.project_id
}
