module "database_secret" {
  source = "./modules/secret"
  count  = local.iam ? 0 : 1

  name                = "${var.cloud_sql.instance}_database_url"
  region              = var.region
  value               = var.database_urls == null ? null : var.database_urls.loader
  value_version       = var.database_urls_version
  deletion_protection = var.keep_data
  accessors           = { for name in local.functions : name => local.runtime[name] if name != "status" }

  depends_on = [google_project_service.this]
}

# The status page has a role of its own, which can only read.
module "status_secret" {
  source = "./modules/secret"
  count  = local.iam ? 0 : 1

  name                = "${var.cloud_sql.instance}_status_database_url"
  region              = var.region
  value               = var.database_urls == null ? null : var.database_urls.status
  value_version       = var.database_urls_version
  deletion_protection = var.keep_data
  accessors           = { status = local.runtime["status"] }

  depends_on = [google_project_service.this]
}
