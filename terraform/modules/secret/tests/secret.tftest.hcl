mock_provider "google" {}

variables {
  name   = "recommendation-dev_database_url"
  region = "europe-west1"
}

run "a_secret_without_a_value" {
  command = plan

  variables {
    accessors = { loader = "serviceAccount:loader@example.iam.gserviceaccount.com" }
  }

  assert {
    condition     = length(google_secret_manager_secret_version.this) == 0 && google_secret_manager_secret.this.deletion_protection
    error_message = "Versions are added by hand, and the secret is kept."
  }
  assert {
    condition     = google_secret_manager_secret_iam_member.accessor["loader"].secret_id == "recommendation-dev_database_url" && google_secret_manager_secret_iam_member.accessor["loader"].role == "roles/secretmanager.secretAccessor"
    error_message = "The role is on the secret."
  }
  assert {
    condition     = google_secret_manager_secret.this.replication[0].user_managed[0].replicas[0].location == "europe-west1"
    error_message = "The value stays in the region."
  }
}

run "a_value_that_no_state_holds" {
  command = apply

  variables {
    value               = "postgresql://loader:secret@10.0.0.2/recommendation"
    value_version       = 1
    deletion_protection = false
  }

  assert {
    condition     = google_secret_manager_secret_version.this[0].secret_data_wo_version == 1 && google_secret_manager_secret_version.this[0].secret_data_wo == null
    error_message = "The value is written, and not remembered."
  }
}

run "refuses_everybody" {
  command = plan

  variables {
    accessors = { all = "allAuthenticatedUsers" }
  }

  expect_failures = [var.accessors]
}
