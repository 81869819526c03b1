mock_provider "google" {}

variables {
  name             = "hourly"
  description      = "Exports the last hour"
  region           = "europe-west1"
  schedule         = "5 * * * *"
  function         = { uri = "https://hourly.example.run.app" }
  service_account  = { email = "scheduler@example.iam.gserviceaccount.com" }
  deadline_seconds = 1800
}

run "calls_with_a_token_for_the_function" {
  command = plan

  variables {
    body = { delete_from_source = false }
  }

  assert {
    condition     = google_cloud_scheduler_job.this[0].http_target[0].oidc_token[0].audience == "https://hourly.example.run.app" && google_cloud_scheduler_job.this[0].http_target[0].oidc_token[0].service_account_email == "scheduler@example.iam.gserviceaccount.com"
    error_message = "The token names the function as its audience and the scheduler's own account."
  }
  assert {
    condition     = google_cloud_scheduler_job.this[0].http_target[0].http_method == "POST" && base64decode(google_cloud_scheduler_job.this[0].http_target[0].body) == "{\"delete_from_source\":false}"
    error_message = "The body is JSON."
  }
}

run "retries" {
  command = plan

  assert {
    condition     = google_cloud_scheduler_job.this[0].attempt_deadline == "1800s" && google_cloud_scheduler_job.this[0].retry_config[0].retry_count == 3
    error_message = "It waits as long as the function may run, and repeats what failed."
  }
}

run "leaves_the_calls_to_others" {
  command = plan

  variables {
    enabled = false
  }

  assert {
    condition     = length(google_cloud_scheduler_job.this) == 0 && output.name == null
    error_message = "There is no job."
  }
}

run "refuses_to_wait_too_long" {
  command = plan

  variables {
    deadline_seconds = 3600
  }

  expect_failures = [var.deadline_seconds]
}

run "refuses_too_many_retries" {
  command = plan

  variables {
    retry = { count = 9 }
  }

  expect_failures = [var.retry]
}

run "refuses_six_fields" {
  command = plan

  variables {
    schedule = "0 5 * * * *"
  }

  expect_failures = [var.schedule]
}
