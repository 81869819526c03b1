locals {
  prefix     = "recosync-${var.environment}"
  repository = "${path.module}/.."

  # The name of a data set, and of a metric in PromQL, has no dashes.
  underscored = replace(var.environment, "-", "_")

  # Jobs run where the sources are, and read and write what is there alone.
  source_locations  = distinct([for dataset in data.google_bigquery_dataset.source : lower(dataset.location)])
  bigquery_location = coalesce(var.bigquery_location, length(local.source_locations) == 1 ? local.source_locations[0] : var.region)

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
      for key, found in regex(local.dataset, replace(log.dataset, "{env}", local.underscored)) : key => coalesce(found, var.project_id)
    })
  }
  dataset = "^(?:(?P<project>.+)\\.)?(?P<dataset>[^.]+)$"

  # What tfvars call two variables of the catalog, since there were no others.
  short_names = {
    BIGQUERY_ML_RECOMMENDATION_DATASET = "ml_recommendation"
    BIGQUERY_SEED_DATASET              = "seed"
  }

  # The variables of the catalog, by their names in source_datasets.
  source_names = { for name in local.catalog.source_variables : name => contains(keys(var.source_datasets), name) ? name : local.short_names[name] }

  # The data sets of the sources as project.dataset: each once, whoever names it. Were it granted twice, the end of one
  # grant would be that of the other.
  sources = toset([
    for source in concat([for name in values(local.source_names) : var.source_datasets[name]], local.catalog.source_datasets) :
    strcontains(source, ".") ? source : "${var.project_id}.${source}"
  ])

  # The logs whose tables are in the data set that is made here.
  own_logs = { for name, log in local.logs : name => log if log.project == var.project_id && log.dataset == "raw_${local.underscored}" }
}

data "google_project" "this" {
  project_id = var.project_id
}
