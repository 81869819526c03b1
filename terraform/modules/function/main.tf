locals {
  object_finalized  = "google.cloud.storage.object.v1.finalized"
  message_published = "google.cloud.pubsub.topic.v1.messagePublished"
}

resource "google_cloudfunctions2_function" "this" {
  #checkov:skip=CKV_GCP_124:It is a variable: people look at the status page from outside, and IAM asks who each of them is
  name        = var.name
  description = var.description
  location    = var.region

  build_config {
    runtime           = "python313"
    entry_point       = var.entry_point
    service_account   = var.build.service_account
    docker_repository = var.build.repository

    source {
      storage_source {
        bucket = var.source_archive.bucket
        object = var.source_archive.object
      }
    }
  }

  service_config {
    service_account_email            = var.service_account_email
    environment_variables            = var.environment
    timeout_seconds                  = var.limits.timeout_seconds
    available_memory                 = var.limits.memory
    available_cpu                    = var.limits.cpu
    min_instance_count               = var.limits.min_instances
    max_instance_count               = var.limits.max_instances
    max_instance_request_concurrency = 1
    ingress_settings                 = var.ingress
    vpc_connector                    = var.vpc.connector
    vpc_connector_egress_settings    = var.vpc.connector == null ? null : "PRIVATE_RANGES_ONLY"
    direct_vpc_egress                = var.vpc.direct == null ? null : "VPC_EGRESS_PRIVATE_RANGES_ONLY"

    dynamic "direct_vpc_network_interface" {
      for_each = var.vpc.direct == null ? [] : [var.vpc.direct]
      content {
        subnetwork = direct_vpc_network_interface.value.subnetwork
        network    = direct_vpc_network_interface.value.network
        tags       = direct_vpc_network_interface.value.tags
      }
    }

    # A file, not a variable: it is read for each connection, so a new version needs no deployment.
    dynamic "secret_volumes" {
      for_each = var.database_secret == null ? [] : [var.database_secret]
      content {
        mount_path = dirname(secret_volumes.value.file)
        project_id = secret_volumes.value.project
        secret     = secret_volumes.value.name

        versions {
          version = "latest"
          path    = basename(secret_volumes.value.file)
        }
      }
    }
  }

  dynamic "event_trigger" {
    for_each = var.trigger == null ? [] : [var.trigger]
    content {
      event_type            = event_trigger.value.bucket == null ? local.message_published : local.object_finalized
      pubsub_topic          = event_trigger.value.topic
      trigger_region        = var.region
      retry_policy          = event_trigger.value.retry ? "RETRY_POLICY_RETRY" : "RETRY_POLICY_DO_NOT_RETRY"
      service_account_email = event_trigger.value.service_account_email

      dynamic "event_filters" {
        for_each = event_trigger.value.bucket == null ? [] : [event_trigger.value.bucket]
        content {
          attribute = "bucket"
          value     = event_filters.value
        }
      }
    }
  }
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = var.invokers

  name     = google_cloudfunctions2_function.this.name
  location = google_cloudfunctions2_function.this.location
  role     = "roles/run.invoker"
  member   = each.value
}
