resource "google_storage_bucket" "this" {
  #checkov:skip=CKV_GCP_62:Access is in Cloud Audit Logs, where data access logging is a decision of the project
  #checkov:skip=CKV_GCP_78:Versions would keep what the lifecycle is to delete; objects are written once and checked by generation
  name                        = var.name
  location                    = var.location
  uniform_bucket_level_access = true
  public_access_prevention    = var.public_access_prevention
  force_destroy               = var.force_destroy

  soft_delete_policy {
    retention_duration_seconds = var.soft_delete_days * 24 * 60 * 60
  }

  dynamic "lifecycle_rule" {
    for_each = var.delete_after_days
    content {
      action {
        type = "Delete"
      }
      condition {
        age            = lifecycle_rule.value.days
        matches_prefix = length(lifecycle_rule.value.prefixes) == 0 ? null : lifecycle_rule.value.prefixes
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.colder_after_days == null ? [] : [var.colder_after_days]
    content {
      action {
        type          = "SetStorageClass"
        storage_class = "NEARLINE"
      }
      condition {
        age = lifecycle_rule.value
      }
    }
  }

  # What a killed upload left is paid for, and in no listing.
  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 7
    }
  }
}

resource "google_storage_bucket_iam_member" "this" {
  for_each = var.grants

  bucket = google_storage_bucket.this.name
  role   = each.value.role
  member = each.value.member
}
