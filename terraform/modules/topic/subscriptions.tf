locals {
  pubsub_agent = "serviceAccount:service-${var.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_subscription" "this" {
  for_each = var.subscriptions

  name                    = each.key
  topic                   = google_pubsub_topic.this.id
  ack_deadline_seconds    = each.value.ack_seconds
  enable_message_ordering = each.value.ordered

  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letter[each.key].id
    max_delivery_attempts = each.value.max_attempts
  }

  dynamic "push_config" {
    for_each = each.value.push_endpoint == null ? [] : [each.value]
    content {
      push_endpoint = push_config.value.push_endpoint
      oidc_token {
        service_account_email = push_config.value.push_identity
        audience              = push_config.value.push_endpoint
      }
    }
  }
}

resource "google_pubsub_subscription_iam_member" "subscriber" {
  for_each = var.subscriptions

  subscription = google_pubsub_subscription.this[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = each.value.subscriber
}

resource "google_pubsub_topic" "dead_letter" {
  #checkov:skip=CKV_GCP_83:Messages name a table, a snapshot and a number; Google's own keys encrypt them
  for_each = var.subscriptions

  name = "${each.key}-dead-letter"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

# A topic keeps nothing for nobody: without this subscription dead letters would be gone.
resource "google_pubsub_subscription" "dead_letter" {
  for_each = var.subscriptions

  name                       = "${each.key}-dead-letter"
  topic                      = google_pubsub_topic.dead_letter[each.key].id
  message_retention_duration = "${7 * 24 * 60 * 60}s"

  expiration_policy {
    ttl = ""
  }
}

# Pub/Sub moves a dead letter as its own agent: it publishes there, and acknowledges here.
resource "google_pubsub_topic_iam_member" "dead_letter" {
  for_each = var.subscriptions

  topic  = google_pubsub_topic.dead_letter[each.key].name
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "dead_letter" {
  for_each = var.subscriptions

  subscription = google_pubsub_subscription.this[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}
