# Tells of each publication. mv_refresh hears it through Eventarc, whose subscription the provider can't give a dead
# letter topic: the alert on its oldest message watches it, and hourly_export sends again what was lost.
module "completion_topic" {
  source = "./modules/topic"

  name           = "${local.prefix}-published"
  region         = var.region
  project_number = data.google_project.this.number
  subscriptions  = var.completion_subscriptions

  grants = {
    gcs_import    = { role = "roles/pubsub.publisher", member = local.runtime["gcs_import"] }
    hourly_export = { role = "roles/pubsub.publisher", member = local.runtime["hourly_export"] }
  }

  depends_on = [google_project_service.this]
}
