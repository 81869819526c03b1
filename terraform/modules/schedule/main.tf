resource "google_cloud_scheduler_job" "this" {
  count = var.enabled ? 1 : 0

  name             = var.name
  description      = var.description
  region           = var.region
  schedule         = var.schedule
  time_zone        = var.time_zone
  paused           = var.paused
  attempt_deadline = "${var.deadline_seconds}s"

  retry_config {
    retry_count          = var.retry.count
    min_backoff_duration = "${var.retry.min_backoff}s"
    max_backoff_duration = "${var.retry.max_backoff}s"
    max_doublings        = var.retry.doublings
  }

  http_target {
    http_method = "POST"
    uri         = var.function.uri
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode(jsonencode(var.body))

    oidc_token {
      service_account_email = var.service_account.email
      audience              = var.function.uri
    }
  }
}
