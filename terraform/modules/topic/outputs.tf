output "name" {
  description = "Short name of the topic."
  value       = google_pubsub_topic.this.name
}

output "id" {
  description = "projects/<project>/topics/<name>."
  value       = google_pubsub_topic.this.id
}

output "dead_letter_subscriptions" {
  description = "The subscriptions that keep dead letters."
  value       = [for subscription in google_pubsub_subscription.dead_letter : subscription.name]
}
