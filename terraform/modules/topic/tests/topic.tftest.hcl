mock_provider "google" {
  mock_resource "google_pubsub_topic" {
    defaults = { id = "projects/example-project/topics/mocked" }
  }
}

variables {
  name           = "published"
  region         = "europe-west1"
  project_number = "123456789012"
}

run "a_topic_alone" {
  command = plan

  variables {
    grants = { publisher = { role = "roles/pubsub.publisher", member = "serviceAccount:publisher@example.iam.gserviceaccount.com" } }
  }

  assert {
    condition     = google_pubsub_topic.this.message_retention_duration == "86400s" && google_pubsub_topic.this.message_storage_policy[0].allowed_persistence_regions == toset(["europe-west1"])
    error_message = "Messages stay for a day, in the region."
  }
  assert {
    condition     = google_pubsub_topic_iam_member.this["publisher"].topic == "published" && length(google_pubsub_subscription.this) == 0
    error_message = "The role is on the topic; there are no subscriptions unless they are asked for."
  }
}

run "a_subscription_that_asks_for_it_gets_messages_in_order" {
  command = plan

  variables {
    subscriptions = {
      cache = { subscriber = "user:a@example.com" }
      feed  = { subscriber = "user:a@example.com", ordered = true }
    }
  }

  assert {
    condition     = google_pubsub_subscription.this["feed"].enable_message_ordering && !google_pubsub_subscription.this["cache"].enable_message_ordering
    error_message = "Order costs speed, so it is asked for."
  }
}

run "each_subscription_has_dead_letters" {
  command = apply

  variables {
    subscriptions = { cache = { subscriber = "serviceAccount:cache@example.iam.gserviceaccount.com", max_attempts = 7 } }
  }

  assert {
    condition     = google_pubsub_subscription.this["cache"].dead_letter_policy[0].max_delivery_attempts == 7 && google_pubsub_subscription.this["cache"].dead_letter_policy[0].dead_letter_topic == google_pubsub_topic.dead_letter["cache"].id
    error_message = "After its attempts a message goes to the dead letter topic."
  }
  assert {
    condition     = google_pubsub_subscription.this["cache"].retry_policy[0].maximum_backoff == "600s" && google_pubsub_subscription.this["cache"].expiration_policy[0].ttl == ""
    error_message = "Attempts come further and further apart, and the subscription never expires."
  }
  assert {
    condition     = google_pubsub_subscription.dead_letter["cache"].topic == google_pubsub_topic.dead_letter["cache"].id && google_pubsub_subscription.dead_letter["cache"].message_retention_duration == "604800s"
    error_message = "Dead letters are kept for a week."
  }
  assert {
    condition     = google_pubsub_topic_iam_member.dead_letter["cache"].member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com" && google_pubsub_subscription_iam_member.dead_letter["cache"].role == "roles/pubsub.subscriber"
    error_message = "Pub/Sub's agent may move them."
  }
}

run "refuses_too_few_attempts" {
  command = plan

  variables {
    subscriptions = { cache = { subscriber = "user:a@example.com", max_attempts = 2 } }
  }

  expect_failures = [var.subscriptions]
}

run "refuses_a_push_without_identity" {
  command = plan

  variables {
    subscriptions = { cache = { subscriber = "user:a@example.com", push_endpoint = "https://cache.example.com" } }
  }

  expect_failures = [var.subscriptions]
}

run "refuses_everybody" {
  command = plan

  variables {
    subscriptions = { cache = { subscriber = "allUsers" } }
  }

  expect_failures = [var.subscriptions]
}
