mock_provider "google" {
  mock_resource "google_cloudfunctions2_function" {
    defaults = { service_config = { uri = "https://mocked.example.run.app" } }
  }
}

variables {
  name                  = "recosync-dev-gcs-import"
  description           = "Imports"
  region                = "europe-west1"
  entry_point           = "gcs_import"
  source_archive        = { bucket = "example-source", object = "gcs_import-0.zip" }
  build                 = { service_account = "projects/example/serviceAccounts/build@example.iam.gserviceaccount.com", repository = "projects/example/locations/europe-west1/repositories/recosync-dev" }
  service_account_email = "recosync-dev-gcs-import@example.iam.gserviceaccount.com"
  environment           = { ENV_SHORT_NAME = "dev", FUNCTION_TIMEOUT_SECONDS = "540" }
  database_secret       = { project = "example", name = "recommendation-dev_database_url", file = "/secrets/database_url" }
  limits                = { timeout_seconds = 540, memory = "1Gi", cpu = "2", min_instances = 0, max_instances = 4 }
}

run "http" {
  command = plan

  assert {
    condition     = length(google_cloudfunctions2_function.this.event_trigger) == 0 && length(google_cloud_run_v2_service_iam_member.invoker) == 0
    error_message = "Without a trigger and invokers, nothing calls it."
  }
  assert {
    condition     = google_cloudfunctions2_function.this.build_config[0].runtime == "python313" && google_cloudfunctions2_function.this.build_config[0].entry_point == "gcs_import"
    error_message = "It runs on Python 3.13."
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].max_instance_request_concurrency == 1 && google_cloudfunctions2_function.this.service_config[0].max_instance_count == 4
    error_message = "One call at a time, in as many instances as were asked for."
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].ingress_settings == "ALLOW_INTERNAL_ONLY"
    error_message = "Calls come from within, unless asked otherwise."
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].secret_volumes[0].mount_path == "/secrets" && google_cloudfunctions2_function.this.service_config[0].secret_volumes[0].versions[0].path == "database_url" && google_cloudfunctions2_function.this.service_config[0].secret_volumes[0].versions[0].version == "latest"
    error_message = "The newest version of the secret is mounted as a file."
  }
}

run "called_for_objects" {
  command = plan

  variables {
    trigger  = { bucket = "example-exports", service_account_email = "trigger@example.iam.gserviceaccount.com" }
    invokers = { trigger = "serviceAccount:trigger@example.iam.gserviceaccount.com" }
  }

  assert {
    condition     = google_cloudfunctions2_function.this.event_trigger[0].event_type == "google.cloud.storage.object.v1.finalized" && one(google_cloudfunctions2_function.this.event_trigger[0].event_filters).value == "example-exports"
    error_message = "Finalized objects of the bucket."
  }
  assert {
    condition     = google_cloudfunctions2_function.this.event_trigger[0].retry_policy == "RETRY_POLICY_RETRY" && google_cloudfunctions2_function.this.event_trigger[0].service_account_email == "trigger@example.iam.gserviceaccount.com"
    error_message = "Events are retried, and come from the trigger's account."
  }
  assert {
    condition     = google_cloud_run_v2_service_iam_member.invoker["trigger"].role == "roles/run.invoker"
    error_message = "The trigger's account may call it."
  }
}

run "called_for_messages" {
  command = plan

  variables {
    trigger = { topic = "projects/example/topics/published", service_account_email = "trigger@example.iam.gserviceaccount.com", retry = false }
  }

  assert {
    condition     = google_cloudfunctions2_function.this.event_trigger[0].event_type == "google.cloud.pubsub.topic.v1.messagePublished" && google_cloudfunctions2_function.this.event_trigger[0].pubsub_topic == "projects/example/topics/published" && google_cloudfunctions2_function.this.event_trigger[0].retry_policy == "RETRY_POLICY_DO_NOT_RETRY"
    error_message = "Messages of the topic."
  }
}

run "in_a_subnetwork" {
  command = plan

  variables {
    vpc = { direct = { subnetwork = "recommendation" } }
  }

  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].direct_vpc_network_interface[0].subnetwork == "recommendation" && google_cloudfunctions2_function.this.service_config[0].direct_vpc_egress == "VPC_EGRESS_PRIVATE_RANGES_ONLY"
    error_message = "Its instances are in the subnetwork, and use it for private addresses alone."
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].vpc_connector == null
    error_message = "It has no connector then."
  }
}

run "by_a_connector" {
  command = plan

  variables {
    vpc = { connector = "projects/example/locations/europe-west1/connectors/serverless" }
  }

  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].vpc_connector_egress_settings == "PRIVATE_RANGES_ONLY" && length(google_cloudfunctions2_function.this.service_config[0].direct_vpc_network_interface) == 0
    error_message = "It uses the connector for private addresses alone."
  }
}

run "refuses_two_ways_into_the_network" {
  command = plan

  variables {
    vpc = { direct = { subnetwork = "recommendation" }, connector = "projects/example/locations/europe-west1/connectors/serverless" }
  }

  expect_failures = [var.vpc]
}

run "refuses_an_event_of_half_an_hour" {
  command = plan

  variables {
    limits      = { timeout_seconds = 1800, memory = "1Gi", cpu = "2", min_instances = 0, max_instances = 4 }
    environment = { FUNCTION_TIMEOUT_SECONDS = "1800" }
    trigger     = { bucket = "example-exports", service_account_email = "trigger@example.iam.gserviceaccount.com" }
  }

  expect_failures = [var.limits]
}

run "refuses_another_timeout_in_the_environment" {
  command = plan

  variables {
    environment = { FUNCTION_TIMEOUT_SECONDS = "60" }
  }

  expect_failures = [var.environment]
}

run "refuses_a_default_service_account" {
  command = plan

  variables {
    service_account_email = "123456789012-compute@developer.gserviceaccount.com"
  }

  expect_failures = [var.service_account_email]
}

run "refuses_everybody" {
  command = plan

  variables {
    invokers = { all = "allUsers" }
  }

  expect_failures = [var.invokers]
}

run "refuses_a_trigger_of_both" {
  command = plan

  variables {
    trigger = { bucket = "b", topic = "projects/example/topics/t", service_account_email = "trigger@example.iam.gserviceaccount.com" }
  }

  expect_failures = [var.trigger]
}
