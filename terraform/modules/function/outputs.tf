output "name" {
  description = "Name of the function and of its Cloud Run service."
  value       = google_cloudfunctions2_function.this.name
}

output "uri" {
  description = "Address of the function, and the audience of tokens for it."
  value       = google_cloudfunctions2_function.this.service_config[0].uri

  # A first call would be refused before.
  depends_on = [google_cloud_run_v2_service_iam_member.invoker]
}
