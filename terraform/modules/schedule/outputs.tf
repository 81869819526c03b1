output "name" {
  description = "Name of the job; null if there is none."
  value       = one(google_cloud_scheduler_job.this[*].name)
}
