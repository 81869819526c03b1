resource "google_artifact_registry_repository" "functions" {
  #checkov:skip=CKV_GCP_84:Google's own keys encrypt the images, which hold code and no data
  repository_id = local.prefix
  location      = var.region
  format        = "DOCKER"
  description   = "Images of the functions (${var.environment})"

  cleanup_policies {
    id     = "keep-the-last"
    action = "KEEP"
    most_recent_versions {
      keep_count = 5
    }
  }

  cleanup_policies {
    id     = "drop-the-old"
    action = "DELETE"
    condition {
      older_than = "${var.retention.images * 24 * 60 * 60}s"
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_artifact_registry_repository_iam_member" "build" {
  repository = google_artifact_registry_repository.functions.repository_id
  location   = var.region
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member
}

module "archive" {
  source   = "./modules/archive"
  for_each = toset(local.functions)

  name           = each.key
  catalog_folder = var.catalog_folder
}

# Named by what is in it: a function is deployed anew when its archive is another, and never otherwise.
resource "google_storage_bucket_object" "archive" {
  for_each = module.archive

  name   = "${each.key}-${each.value.sha256}.zip"
  bucket = module.source_bucket.name
  source = each.value.path
}
