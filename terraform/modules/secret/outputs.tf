output "name" {
  description = "Name of the secret, known to others once it can be read."
  value       = google_secret_manager_secret.this.secret_id
  depends_on  = [google_secret_manager_secret_version.this, google_secret_manager_secret_iam_member.accessor]
}
