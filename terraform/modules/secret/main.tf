resource "google_secret_manager_secret" "this" {
  secret_id = var.name

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  # It may be the only place where the password is.
  deletion_protection = var.deletion_protection
}

resource "google_secret_manager_secret_version" "this" {
  count = var.value_version == null ? 0 : 1

  secret                 = google_secret_manager_secret.this.id
  secret_data_wo         = var.value
  secret_data_wo_version = var.value_version
  # What was written stays, also when the next apply brings nothing.
  deletion_policy = "ABANDON"
}

resource "google_secret_manager_secret_iam_member" "accessor" {
  for_each = var.accessors

  secret_id = google_secret_manager_secret.this.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value
}
