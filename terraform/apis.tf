locals {
  apis = [
    "artifactregistry", "bigquery", "cloudbuild", "cloudfunctions", "cloudscheduler", "compute", "eventarc", "iam", "logging",
    "monitoring", "pubsub", "run", "secretmanager", "sqladmin", "storage", "vpcaccess",
  ]
}

resource "google_project_service" "this" {
  for_each = toset(local.apis)

  service = "${each.key}.googleapis.com"
  # Others in the project may need it.
  disable_on_destroy = false
}
