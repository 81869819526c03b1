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

run "partitioned_clustered_protected" {
  command = plan

  variables {
    tables = {
      log = {
        schema       = "[{\"name\":\"import_date\",\"type\":\"DATE\"}]"
        partition_by = "import_date"
        cluster_by   = ["import_hour", "user_id"]
        editors      = { writer = "serviceAccount:writer@example.iam.gserviceaccount.com" }
      }
    }
  }

  assert {
    condition     = google_bigquery_table.this["log"].deletion_protection && google_bigquery_table.this["log"].time_partitioning[0].type == "DAY" && google_bigquery_table.this["log"].time_partitioning[0].field == "import_date"
    error_message = "A log's table is protected, and partitioned by the day of import_date."
  }
  assert {
    condition     = google_bigquery_table.this["log"].clustering == tolist(["import_hour", "user_id"])
    error_message = "It is clustered as the catalog says."
  }
  assert {
    condition     = google_bigquery_table_iam_member.editor["log writer"].table_id == "log" && google_bigquery_table_iam_member.editor["log writer"].role == "roles/bigquery.dataEditor"
    error_message = "Its writer edits the table, not the data set."
  }
}

run "refuses_five_columns" {
  command = plan

  variables {
    tables = { log = { schema = "[]", partition_by = "d", cluster_by = ["a", "b", "c", "d", "e"] } }
  }

  expect_failures = [var.tables]
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
