resource "google_bigquery_dataset" "this" {
  #checkov:skip=CKV_GCP_81:Google's own keys encrypt it, as they do the sources that it is made of
  dataset_id                  = var.name
  description                 = var.description
  location                    = var.location
  default_table_expiration_ms = var.table_expiration_hours == null ? null : var.table_expiration_hours * 60 * 60 * 1000
  max_time_travel_hours       = tostring(var.time_travel_hours)
  delete_contents_on_destroy  = var.force_destroy
}

resource "google_bigquery_dataset_iam_member" "this" {
  for_each = var.grants

  dataset_id = google_bigquery_dataset.this.dataset_id
  role       = each.value.role
  member     = each.value.member
}
