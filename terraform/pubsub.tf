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

# Tells of each view that stands. Nobody here hears it. Whoever swaps views sends it: mv_refresh, and hourly_export what
# was owed.
module "refreshed_topic" {
  source = "./modules/topic"

  name           = "${local.prefix}-refreshed"
  region         = var.region
  project_number = data.google_project.this.number
  subscriptions  = var.refreshed_subscriptions

  grants = {
    mv_refresh    = { role = "roles/pubsub.publisher", member = local.runtime["mv_refresh"] }
    hourly_export = { role = "roles/pubsub.publisher", member = local.runtime["hourly_export"] }
  }

  depends_on = [google_project_service.this]
}

# Tells of each hour of a log that is done. Who may hear of hours need not hear of views, so it is a topic of its own.
module "hour_done_topic" {
  source = "./modules/topic"

  name           = "${local.prefix}-hour-done"
  region         = var.region
  project_number = data.google_project.this.number
  subscriptions  = var.hour_done_subscriptions

  grants = {
    hourly_export = { role = "roles/pubsub.publisher", member = local.runtime["hourly_export"] }
  }

  depends_on = [google_project_service.this]
}
