locals {
  vpc = {
    direct    = var.vpc.direct
    connector = var.vpc.connector == null ? one(google_vpc_access_connector.this[*].id) : var.vpc.connector
  }
}

resource "google_vpc_access_connector" "this" {
  count = var.vpc.subnetwork == null ? 0 : 1

  name          = local.prefix
  region        = var.region
  min_instances = var.vpc.min_instances
  max_instances = var.vpc.max_instances

  subnet {
    name       = var.vpc.subnetwork
    project_id = var.vpc.host_project
  }

  depends_on = [google_project_service.this]
}
