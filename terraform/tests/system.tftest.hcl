# What a deployment is: names, triggers, schedules, and that nothing is lost by destroying it.

mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
  mock_resource "google_service_account" {
    defaults = { member = "serviceAccount:mocked@example-project.iam.gserviceaccount.com" }
  }
  mock_data "google_bigquery_dataset" {
    defaults = { location = "europe-west1" }
  }
  mock_data "google_storage_project_service_account" {
    defaults = { member = "serviceAccount:service-123456789012@gs-project-accounts.iam.gserviceaccount.com" }
  }
  mock_resource "google_cloudfunctions2_function" {
    defaults = { service_config = { uri = "https://mocked.example.run.app" } }
  }
  mock_resource "google_pubsub_topic" {
    defaults = { id = "projects/example-project/topics/mocked" }
  }
}

# Nobody waits here for roles to count.
mock_provider "time" {}

variables {
  project_id      = "example-project"
  catalog_folder  = "tests/catalog"
  environment     = "dev"
  region          = "europe-west1"
  source_datasets = { ARTISTS_DATASET = "artists_dev" }
  cloud_sql       = { instance = "recommendation-dev", connection_limit = 100, reserved_connections = 30 }
  vpc             = { direct = { subnetwork = "recommendation" } }
  hourly_start    = "20260101T00"
}

run "names" {
  command = plan

  assert {
    condition     = toset(keys(output.functions)) == toset(["bq_export", "gcs_import", "mv_refresh", "hourly_export", "status"])
    error_message = "There are five functions."
  }
  assert {
    condition     = output.functions.gcs_import.name == "recosync-dev-gcs-import"
    error_message = "A function's name says what it is and where."
  }
  assert {
    condition     = output.schedules.daily == "sync_bq_to_cloudsql_recommendation_tables" && output.schedules.hourly["past_offer_context"] == "export_cloudsql_tables_to_bigquery_hourly"
    error_message = "The jobs are named as those they replace."
  }
  assert {
    condition     = output.datasets == { tmp = "tmp_dev", raw = "raw_dev" }
    error_message = "Data sets are named by the environment."
  }
  assert {
    condition     = output.secrets == { loader = "recommendation-dev_database_url", status = "recommendation-dev_status_database_url" }
    error_message = "The secrets are named by the instance."
  }
  assert {
    condition     = length(setintersection([output.buckets.export], [output.buckets.hourly])) == 0
    error_message = "Hours live in a bucket of their own, or each would call gcs_import."
  }
}

run "leaves_the_schedule_to_airflow" {
  command = plan

  variables {
    schedules = { enabled = false }
    callers   = ["serviceAccount:airflow@example.iam.gserviceaccount.com"]
  }

  assert {
    condition     = output.schedules.daily == null && length(output.schedules.hourly) == 0 && length(output.deployment.schedules) == 0
    error_message = "No job calls, and the doctor looks for none."
  }
  assert {
    condition     = alltrue([for name in ["bq_export", "hourly_export"] : toset(keys(local.invokers[name])) == toset(["serviceAccount:airflow@example.iam.gserviceaccount.com"])]) && contains(keys(local.invokers.status), "serviceAccount:airflow@example.iam.gserviceaccount.com")
    error_message = "Airflow may call, and nobody else."
  }
  assert {
    condition     = length(setsubtract(["snapshot_missing", "hour_late"], keys(output.alerts))) == 0
    error_message = "Who is woken is woken all the same."
  }
}

run "catalog" {
  command = plan

  assert {
    condition     = toset(local.catalog.tables) == toset(["artists", "tracks"])
    error_message = "The tables are the catalog's."
  }
  assert {
    condition     = local.deletes == { past_offer_context = false, plays = true, searches = false }
    error_message = "A log deletes if its block says so."
  }
}

run "the_log_of_calls_that_name_none_deletes" {
  command = plan

  variables {
    delete_from_source = true
  }

  assert {
    condition     = local.deletes == { past_offer_context = true, plays = true, searches = false }
    error_message = "What the variable turned on before there were other logs, it turns on for the same log."
  }
}

run "no_log_deletes" {
  command = plan

  variables {
    delete_from_source = false
  }

  assert {
    condition     = local.deletes == { past_offer_context = false, plays = false, searches = false }
    error_message = "The variable keeps every log from deleting."
  }
}

run "deployed" {
  command = apply

  variables {
    database_urls = {
      loader = "postgresql://loader:secret@10.0.0.2/recommendation"
      status = "postgresql://status:secret@10.0.0.2/recommendation"
    }
    database_urls_version = 1
  }

  assert {
    condition     = toset(keys(local.triggers)) == toset(["gcs_import", "mv_refresh"]) && local.triggers.gcs_import.bucket == output.buckets.export && local.triggers.mv_refresh.topic == output.completion_topic
    error_message = "Uploads call gcs_import, publications mv_refresh."
  }
  assert {
    condition     = toset([for name, environment in output.function_environment : name if lookup(environment, "HOUR_DONE_TOPIC", "") == "recosync-dev-hour-done"]) == toset(["hourly_export"]) && output.function_environment.mv_refresh.REFRESHED_TOPIC == "recosync-dev-refreshed"
    error_message = "Who tells knows the topic."
  }
  assert {
    condition     = alltrue([for name, environment in output.function_environment : environment.FUNCTION_TIMEOUT_SECONDS == tostring(var.limits[name].timeout_seconds)])
    error_message = "Each function is told how long it lives."
  }
  assert {
    condition     = alltrue([for environment in output.function_environment : !contains(keys(environment), "DATABASE_URL") && environment.DATABASE_URL_FILE == "/secrets/database_url"])
    error_message = "The database URL is a file, never a variable."
  }
  assert {
    condition     = alltrue([for name, object in google_storage_bucket_object.archive : object.name == "${name}-${module.archive[name].sha256}.zip"])
    error_message = "An archive is named by what is in it."
  }
  assert {
    condition     = output.connections.needed == 35 && output.connections.free == 70
    error_message = "2 + 4 + 3 × 7 + 2 × 3 + 2 connections."
  }
}

run "accounts_in_place_of_passwords" {
  command = plan

  variables {
    database_iam = { host = "[fd00::2]", database = "recommendation" }
  }

  assert {
    condition     = output.secrets == { loader = null, status = null }
    error_message = "There is no secret."
  }
  assert {
    condition     = toset(keys(google_sql_user.function)) == toset(keys(output.functions)) && alltrue([for user in google_sql_user.function : user.type == "CLOUD_IAM_SERVICE_ACCOUNT" && user.instance == "recommendation-dev"])
    error_message = "Each function's account is a user of the instance."
  }
  assert {
    condition     = alltrue([for grant in google_project_iam_member.instance_user : strcontains(grant.condition[0].expression, "projects/example-project/instances/recommendation-dev")])
    error_message = "An account may log in to this instance, and to no other of the project."
  }
}

run "identities" {
  command = plan

  assert {
    condition = length(distinct([
      for account in concat(values(google_service_account.runtime), [google_service_account.trigger, google_service_account.scheduler, google_service_account.build]) : account.account_id
    ])) == 8
    error_message = "Each function, the triggers, the scheduler and the build have an account of their own."
  }
  assert {
    condition = toset([
      for grant in concat(values(google_project_iam_member.job_user), [
        google_project_iam_member.event_receiver, google_project_iam_member.bucket_events,
        google_project_iam_member.build_logs, google_project_iam_member.build_source,
      ]) : grant.role
    ]) == toset(["roles/bigquery.jobUser", "roles/eventarc.eventReceiver", "roles/pubsub.publisher", "roles/logging.logWriter", "roles/storage.objectViewer"])
    error_message = "On the project there are only the roles that no smaller resource has."
  }
  assert {
    condition     = strcontains(google_project_iam_member.build_source.condition[0].expression, "gcf-v2-sources-123456789012-europe-west1")
    error_message = "The build reads only what Cloud Functions has copied for it."
  }
}

run "apis_stay_on" {
  command = plan

  assert {
    condition     = alltrue([for api in google_project_service.this : api.disable_on_destroy == false])
    error_message = "Destroying this leaves the project's other users their APIs."
  }
}

run "other_domains_subscribe_with_dead_letters" {
  command = plan

  variables {
    completion_subscriptions = { recosync-cache = { subscriber = "serviceAccount:cache@example-project.iam.gserviceaccount.com" } }
  }

  assert {
    condition     = contains(keys(output.alerts), "dead_letters")
    error_message = "Their dead letters are watched."
  }
}

run "in_a_place_of_many_regions" {
  command = plan

  override_data {
    target = data.google_bigquery_dataset.source["acme-music.warehouse"]
    values = { location = "EU" }
  }
  override_data {
    target = data.google_bigquery_dataset.source["example-project.artists_dev"]
    values = { location = "EU" }
  }

  assert {
    condition     = local.bigquery_location == "eu"
    error_message = "Temporary tables are made where the sources are."
  }
}

run "a_long_name_of_an_environment" {
  command = plan

  variables {
    environment = "eu-staging-2"
  }

  assert {
    condition     = output.datasets == { tmp = "tmp_eu_staging_2", raw = "raw_eu_staging_2" }
    error_message = "A data set's name has no dash."
  }
  assert {
    condition     = alltrue([for id in values(local.account_ids) : length(id) <= 30]) && length(distinct(values(local.account_ids))) == 8
    error_message = "An account's id has 30 characters at most."
  }
  assert {
    condition     = length(local.own_logs) > 0
    error_message = "The logs' tables are in the data set that is made here."
  }
}

run "sources_whose_owner_grants" {
  command = plan

  variables {
    grant_sources = false
  }

  assert {
    condition     = length(google_bigquery_dataset_iam_member.reader) == 0
    error_message = "Nothing is granted on what the owner writes all grants of."
  }
}

run "a_second_environment_has_jobs_of_its_own" {
  command = plan

  variables {
    schedules = { suffix = "-second" }
  }

  assert {
    condition     = output.schedules.daily == "sync_bq_to_cloudsql_recommendation_tables-second" && output.schedules.hourly["past_offer_context"] == "export_cloudsql_tables_to_bigquery_hourly-second"
    error_message = "Two environments of a project can't have jobs of the same name."
  }
}
