locals {
  # What one instance holds at most (docs/deploy.md#connections). A view that is built has two connections, and room for
  # a third. A publish that changes columns builds views too, within the same max_builds over all instances.
  connections = {
    bq_export     = 1
    gcs_import    = 1
    mv_refresh    = 1 + 3 * var.max_builds
    hourly_export = 3
    status        = 1
  }

  connections_needed = sum([for name in local.functions : var.limits[name].max_instances * local.connections[name]])
  connections_free   = var.cloud_sql.connection_limit - var.cloud_sql.reserved_connections
}

# Holds nothing: it is what the functions wait for, so that none is deployed that would starve the database.
resource "terraform_data" "connections" {
  input = local.connections_needed

  lifecycle {
    precondition {
      condition     = local.connections_needed <= local.connections_free
      error_message = "The functions may hold ${local.connections_needed} connections, ${local.connections_free} are free (cloud_sql.connection_limit less reserved_connections): lower limits.*.max_instances or max_builds, or raise max_connections."
    }
  }
}
