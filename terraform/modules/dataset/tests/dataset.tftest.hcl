mock_provider "google" {}

variables {
  name        = "raw_dev"
  description = "Logs"
  location    = "europe-west1"
}

run "keeps_what_it_holds" {
  command = plan

  assert {
    condition     = google_bigquery_dataset.this.delete_contents_on_destroy == false && google_bigquery_dataset.this.default_table_expiration_ms == null
    error_message = "Tables stay, unless asked otherwise."
  }
}

run "tables_expire" {
  command = plan

  variables {
    name                   = "tmp_dev"
    table_expiration_hours = 24
  }

  assert {
    condition     = google_bigquery_dataset.this.default_table_expiration_ms == 86400000
    error_message = "A table that a killed call left is gone after a day."
  }
}

run "refuses_a_bad_name" {
  command = plan

  variables {
    name = "raw-dev"
  }

  expect_failures = [var.name]
}

run "refuses_everybody" {
  command = plan

  variables {
    grants = { all = { role = "roles/bigquery.dataViewer", member = "allAuthenticatedUsers" } }
  }

  expect_failures = [var.grants]
}
