resource "google_pubsub_topic" "this" {
  #checkov:skip=CKV_GCP_83:Messages name a table, a snapshot and a number; Google's own keys encrypt them
  name                       = var.name
  message_retention_duration = "${var.retention_hours * 60 * 60}s"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

resource "google_pubsub_topic_iam_member" "this" {
  for_each = var.grants

  topic  = google_pubsub_topic.this.name
  role   = each.value.role
  member = each.value.member
}
