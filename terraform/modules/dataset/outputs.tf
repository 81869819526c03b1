output "name" {
  description = "Id of the data set."
  value       = google_bigquery_dataset.this.dataset_id
}
