# What a plan refuses, with the variable or the check that says so.

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
}

# What is refused here is refused whatever the code: reading it for each run would take most of the time.
override_module {
  target  = module.archive
  outputs = { path = "versions.tf", sha256 = "0" }
}

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

run "another_environment" {
  command = plan
  variables {
    environment = "staging-europe"
  }
  expect_failures = [var.environment]
}

run "a_zone_as_region" {
  command = plan
  variables {
    region = "europe-west1-b"
  }
  expect_failures = [var.region]
}

run "a_region_that_is_none" {
  command = plan
  variables {
    region = "europe-west7"
  }
  expect_failures = [var.region]
}

run "more_connections_than_there_are" {
  command = plan
  variables {
    limits = { gcs_import = { max_instances = 60 } }
  }
  expect_failures = [terraform_data.connections]
}

run "more_builds_than_there_are_connections" {
  command = plan
  variables {
    max_builds = 8
  }
  expect_failures = [terraform_data.connections]
}

run "all_connections_reserved" {
  command = plan
  variables {
    cloud_sql = { instance = "recommendation-dev", connection_limit = 25, reserved_connections = 25 }
  }
  expect_failures = [var.cloud_sql]
}

run "calls_longer_than_the_scheduler_waits" {
  command = plan
  variables {
    limits = { bq_export = { timeout_seconds = 3600 } }
  }
  expect_failures = [var.limits]
}

run "the_public_as_viewer" {
  command = plan
  variables {
    status_viewers = ["allUsers"]
  }
  expect_failures = [var.status_viewers]
}

run "everybody_as_a_caller" {
  command = plan

  variables {
    callers = ["allAuthenticatedUsers"]
  }

  expect_failures = [var.callers]
}

run "no_way_to_the_database" {
  command = plan
  variables {
    vpc = {}
  }
  expect_failures = [var.vpc]
}

run "two_ways_to_the_database" {
  command = plan
  variables {
    vpc = { direct = { subnetwork = "recommendation" }, connector = "projects/example-project/locations/europe-west1/connectors/serverless" }
  }
  expect_failures = [var.vpc]
}

run "sources_in_two_places" {
  command = plan
  override_data {
    target = data.google_bigquery_dataset.source["acme-music.warehouse"]
    values = { location = "EU" }
  }
  expect_failures = [terraform_data.locations]
}

run "data_sets_beside_the_sources" {
  command = plan
  variables {
    bigquery_location = "EU"
  }
  expect_failures = [terraform_data.locations]
}

run "data_sets_far_from_the_buckets" {
  command = plan
  variables {
    region = "us-central1"
  }
  expect_failures = [terraform_data.locations]
}

run "an_hour_that_is_none" {
  command = plan
  variables {
    hourly_start = "20260101T24"
  }
  expect_failures = [var.hourly_start]
}

run "snapshots_that_vanish_at_once" {
  command = plan
  variables {
    retention = { snapshots = 1 }
  }
  expect_failures = [var.retention]
}

run "a_database_url_that_is_none" {
  command = plan
  variables {
    database_urls         = { loader = "10.0.0.2:5432", status = "postgresql://status:x@10.0.0.2/recommendation" }
    database_urls_version = 1
  }
  expect_failures = [var.database_urls]
}

run "passwords_and_accounts_at_once" {
  command = plan
  variables {
    database_iam          = { host = "10.0.0.2", database = "recommendation" }
    database_urls         = { loader = "postgresql://loader:x@10.0.0.2/recommendation", status = "postgresql://status:x@10.0.0.2/recommendation" }
    database_urls_version = 1
  }
  expect_failures = [var.database_iam]
}

run "an_instance_with_a_port" {
  command = plan
  variables {
    database_iam = { host = "10.0.0.2:5432", database = "recommendation" }
  }
  expect_failures = [var.database_iam]
}

run "a_role_that_would_have_to_be_escaped" {
  command = plan
  variables {
    database_iam = { host = "10.0.0.2", database = "recommendation", loader = "the loader" }
  }
  expect_failures = [var.database_iam]
}

run "a_number_without_database_urls" {
  command = plan
  variables {
    database_urls_version = 1
  }
  expect_failures = [var.database_urls]
}

run "a_channel_that_is_none" {
  command = plan
  variables {
    notification_channels = ["oncall@example.com"]
  }
  expect_failures = [var.notification_channels]
}

run "a_data_set_that_nobody_names" {
  command = plan
  variables {
    source_datasets = { seed = "seed_dev" }
  }
  expect_failures = [var.source_datasets]
}

run "a_data_set_that_is_none" {
  command = plan
  variables {
    source_datasets = { ARTISTS_DATASET = "acme.artists.dev" }
  }
  expect_failures = [var.source_datasets]
}

run "partitions_that_go_before_they_are_counted" {
  command = plan
  variables {
    retention = { raw_partitions = 7 }
  }
  expect_failures = [var.retention]
}
