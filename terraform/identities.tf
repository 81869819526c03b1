# One account per function, one for Eventarc's calls, one for Cloud Scheduler's, one that builds. None has a key.

locals {
  functions = ["bq_export", "gcs_import", "hourly_export", "mv_refresh", "status"]
  runtime   = { for name, account in google_service_account.runtime : name => account.member }

  # The id of an account has 30 characters at most (https://cloud.google.com/iam/docs/service-accounts-create).
  account_ids = {
    for name, short in {
      bq_export = "export", gcs_import = "import", hourly_export = "hourly", mv_refresh = "refresh", status = "status",
      trigger   = "trigger", scheduler = "schedule", build = "build"
    } : name => length("${local.prefix}-${name}") <= 30 ? "${local.prefix}-${replace(name, "_", "-")}" : "${local.prefix}-${short}"
  }
}

resource "google_service_account" "runtime" {
  for_each = toset(local.functions)

  account_id   = local.account_ids[each.key]
  display_name = "What ${each.key} runs as (${var.environment})"
  depends_on   = [google_project_service.this]
}

resource "google_service_account" "trigger" {
  account_id   = local.account_ids["trigger"]
  display_name = "Brings events to gcs_import and mv_refresh (${var.environment})"
  depends_on   = [google_project_service.this]
}

resource "google_service_account" "scheduler" {
  account_id   = local.account_ids["scheduler"]
  display_name = "Calls bq_export and hourly_export (${var.environment})"
  depends_on   = [google_project_service.this]
}

resource "google_service_account" "build" {
  account_id   = local.account_ids["build"]
  display_name = "Builds the functions (${var.environment})"
  depends_on   = [google_project_service.this]
}
