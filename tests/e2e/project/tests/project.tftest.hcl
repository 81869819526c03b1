# What a run of the end-to-end tests makes besides the suite: under its own name, and nothing of it stands in the way of
# its removal.

mock_provider "google" {}

variables {
  project_id             = "example-project"
  region                 = "europe-west1"
  environment            = "e2eabc234"
  administrator_password = "made-up"
}

run "everything_has_the_runs_name" {
  command = plan

  assert {
    condition = alltrue([for name in concat([
      google_compute_network.this.name, google_compute_subnetwork.this.name, google_compute_global_address.services.name,
      google_sql_database_instance.this.name,
    ], values(output.source_datasets)) : strcontains(name, "e2eabc234")])
    error_message = "Two runs, and a deployment, must not meet."
  }
}

run "nothing_is_protected" {
  command = plan

  assert {
    condition     = !google_sql_database_instance.this.deletion_protection && !google_sql_database_instance.this.settings[0].deletion_protection_enabled
    error_message = "The instance goes with the run."
  }
  assert {
    condition     = alltrue([for dataset in google_bigquery_dataset.source : dataset.delete_contents_on_destroy])
    error_message = "The sources go with their rows."
  }
  assert {
    condition     = google_service_networking_connection.this.deletion_policy == "ABANDON" && google_sql_database.this.deletion_policy == "ABANDON" && google_sql_user.administrator.deletion_policy == "ABANDON"
    error_message = "What can't be removed by itself goes with what holds it."
  }
  assert {
    condition     = alltrue([for service in google_project_service.this : !service.disable_on_destroy])
    error_message = "Others in the project may need the APIs."
  }
}

run "nobody_comes_in_by_the_public_address_without_an_identity" {
  command = plan

  assert {
    condition     = length(google_sql_database_instance.this.settings[0].ip_configuration[0].authorized_networks) == 0 && google_sql_database_instance.this.settings[0].ip_configuration[0].ssl_mode == "ENCRYPTED_ONLY"
    error_message = "No network is let in, and nothing travels in the clear."
  }
}

run "the_subnetwork_fits_the_way_into_the_network" {
  command = plan

  variables {
    direct = true
  }

  assert {
    condition     = google_compute_subnetwork.this.ip_cidr_range == "10.8.0.0/26"
    error_message = "Addresses for functions need /26; a connector needs /28."
  }
}
