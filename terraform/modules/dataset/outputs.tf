output "name" {
  description = "Id of the data set."
  value       = google_bigquery_dataset.this.dataset_id
}

output "tables" {
  description = "The tables, as <data set>.<table>."
  value       = [for table in google_bigquery_table.this : "${table.dataset_id}.${table.table_id}"]
}
