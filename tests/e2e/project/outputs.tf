output "instance" {
  description = "The instance: its name, what the Cloud SQL Auth Proxy calls it, its private address, its max_connections."
  value = {
    name             = google_sql_database_instance.this.name
    connection_name  = google_sql_database_instance.this.connection_name
    address          = google_sql_database_instance.this.private_ip_address
    connection_limit = tonumber(one(google_sql_database_instance.this.settings[0].database_flags).value)
  }
}

output "database" {
  description = "The database, and who administers it."
  value       = { name = google_sql_database.this.name, administrator = google_sql_user.administrator.name }
}

output "subnetwork" {
  description = "The subnetwork of the functions, or of their connector."
  value       = google_compute_subnetwork.this.name
}

output "source_datasets" {
  description = "The data sets of the sources, by the catalog's variables."
  value       = { for variable, dataset in google_bigquery_dataset.source : variable => dataset.dataset_id }
}
