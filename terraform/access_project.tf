# The roles that no smaller resource has. All others stand beside the resource they are granted on.

resource "google_project_iam_member" "job_user" {
  for_each = toset(["bq_export", "hourly_export"])

  project = var.project_id
  role    = "roles/bigquery.jobUser"
  member  = local.runtime[each.key]
}

# A job is known by its name, whoever made it: an operator's command that was interrupted is gone on with, and a load that
# is under way is not made twice. Without it, each account sees its own jobs alone, and no resource is smaller
# (https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/get).
resource "google_project_iam_member" "job_viewer" {
  for_each = toset(["bq_export", "hourly_export"])

  project = var.project_id
  role    = "roles/bigquery.resourceViewer"
  member  = local.runtime[each.key]
}

resource "google_project_iam_member" "metric_writer" {
  project = var.project_id
  role    = "roles/monitoring.metricWriter"
  member  = local.runtime["hourly_export"]
}

resource "google_project_iam_member" "event_receiver" {
  project = var.project_id
  role    = "roles/eventarc.eventReceiver"
  member  = google_service_account.trigger.member
}

# A bucket's events reach Eventarc through a topic that Eventarc makes: there is none yet to grant this on.
data "google_storage_project_service_account" "this" {
  project = var.project_id
}

resource "google_project_iam_member" "bucket_events" {
  project = var.project_id
  role    = "roles/pubsub.publisher"
  member  = data.google_storage_project_service_account.this.member
}

resource "google_project_iam_member" "build_logs" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = google_service_account.build.member
}

# Cloud Functions copies each archive to a bucket that it makes with the first function: only its name is known.
resource "google_project_iam_member" "build_source" {
  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = google_service_account.build.member

  condition {
    title       = "sources of functions"
    description = "Only what Cloud Functions has copied to be built"
    expression  = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-${data.google_project.this.number}-${var.region}\")"
  }
}

# A role counts minutes after it is granted, and so do the service agents that the APIs bring
# (https://cloud.google.com/iam/docs/access-change-propagation): the first trigger, or build, would be refused. Eventarc's
# own agent is made by the beta provider alone: docs/deploy.md has the commands, and `recosync doctor --plan` looks.
resource "time_sleep" "roles" {
  create_duration = "120s"

  depends_on = [
    google_artifact_registry_repository_iam_member.build,
    google_project_iam_member.build_logs,
    google_project_iam_member.build_source,
    google_project_iam_member.event_receiver,
    google_project_iam_member.bucket_events,
    module.database_secret,
    module.export_bucket,
    module.status_secret,
  ]
}
