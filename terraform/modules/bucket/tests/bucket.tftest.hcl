mock_provider "google" {}

variables {
  name     = "example-exports"
  location = "europe-west1"
}

run "closed_and_kept" {
  command = plan

  assert {
    condition     = google_storage_bucket.this.uniform_bucket_level_access && google_storage_bucket.this.public_access_prevention == "enforced"
    error_message = "Access is by IAM alone, and never public."
  }
  assert {
    condition     = google_storage_bucket.this.force_destroy == false
    error_message = "A bucket with objects is not destroyed unless that was asked for."
  }
  assert {
    condition     = google_storage_bucket.this.soft_delete_policy[0].retention_duration_seconds == 0
    error_message = "What the lifecycle deletes is gone, unless soft_delete_days says otherwise."
  }
}

run "lifecycle" {
  command = plan

  variables {
    delete_after_days = [{ days = 14, prefixes = ["exports/"] }]
    colder_after_days = 7
    soft_delete_days  = 7
  }

  assert {
    condition = anytrue([
      for rule in google_storage_bucket.this.lifecycle_rule :
      one(rule.action).type == "Delete" && one(rule.condition).age == 14 && try(one(rule.condition).matches_prefix[0] == "exports/", false)
    ])
    error_message = "Objects below the prefix are deleted at their age."
  }
  assert {
    condition     = anytrue([for rule in google_storage_bucket.this.lifecycle_rule : one(rule.action).storage_class == "NEARLINE" && one(rule.condition).age == 7])
    error_message = "Objects become colder."
  }
  assert {
    condition     = google_storage_bucket.this.soft_delete_policy[0].retention_duration_seconds == 604800
    error_message = "Deleted objects can be restored for a week."
  }
}

run "grants_are_on_this_bucket" {
  command = plan

  variables {
    grants = { reader = { role = "roles/storage.objectViewer", member = "serviceAccount:reader@example.iam.gserviceaccount.com" } }
  }

  assert {
    condition     = google_storage_bucket_iam_member.this["reader"].bucket == "example-exports" && google_storage_bucket_iam_member.this["reader"].role == "roles/storage.objectViewer"
    error_message = "The role is granted on the bucket."
  }
}

run "refuses_a_public_bucket" {
  command = plan

  variables {
    public_access_prevention = "inherited"
  }

  expect_failures = [var.public_access_prevention]
}

run "refuses_everybody" {
  command = plan

  variables {
    grants = { all = { role = "roles/storage.objectViewer", member = "allUsers" } }
  }

  expect_failures = [var.grants]
}

run "refuses_a_bad_name" {
  command = plan

  variables {
    name = "gs://exports"
  }

  expect_failures = [var.name]
}

run "refuses_a_soft_delete_that_there_is_not" {
  command = plan

  variables {
    soft_delete_days = 3
  }

  expect_failures = [var.soft_delete_days]
}
