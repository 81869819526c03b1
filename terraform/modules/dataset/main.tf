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

resource "google_bigquery_table" "this" {
  #checkov:skip=CKV_GCP_80:Google's own keys encrypt it, as they do the sources that it is made of
  #checkov:skip=CKV_GCP_121:It is a variable, and on unless an environment's data may go
  for_each = var.tables

  dataset_id          = google_bigquery_dataset.this.dataset_id
  table_id            = each.key
  schema              = each.value.schema
  clustering          = length(each.value.cluster_by) == 0 ? null : each.value.cluster_by
  deletion_protection = each.value.deletion_protection

  time_partitioning {
    type          = "DAY"
    field         = each.value.partition_by
    expiration_ms = each.value.expiration_days == null ? null : each.value.expiration_days * 24 * 60 * 60 * 1000
  }
}

locals {
  editors = merge([
    for name, table in var.tables : {
      for key, member in table.editors : "${name} ${key}" => { table = name, member = member }
    }
  ]...)
}

resource "google_bigquery_table_iam_member" "editor" {
  for_each = local.editors

  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.this[each.value.table].table_id
  role       = "roles/bigquery.dataEditor"
  member     = each.value.member
}
