# How the functions log in to PostgreSQL: by a URL in a secret, or each with its own account.

locals {
  iam = var.database_iam != null

  # What Cloud SQL calls a service account: https://cloud.google.com/sql/docs/postgres/add-manage-iam-users
  database_users = { for name, account in google_service_account.runtime : name => trimsuffix(account.email, ".gserviceaccount.com") }

  database_environment = {
    for name in local.functions : name => local.iam ? tomap({
      DATABASE_LOGIN = "iam"
      DATABASE_URL   = "postgresql://${urlencode(local.database_users[name])}@${var.database_iam.host}/${var.database_iam.database}?options=-crole%3D${name == "status" ? var.database_iam.status : var.database_iam.loader}"
      }) : tomap({
      DATABASE_URL_FILE = local.secret_file
    })
  }
}

resource "google_sql_user" "function" {
  for_each = local.iam ? toset(local.functions) : []

  project  = var.project_id
  instance = var.cloud_sql.instance
  name     = local.database_users[each.key]
  type     = "CLOUD_IAM_SERVICE_ACCOUNT"
  # A role that another was granted to can't be dropped by Cloud SQL.
  deletion_policy = "ABANDON"

  depends_on = [google_project_service.this]
}

# Cloud SQL has no smaller resource than the project; the condition names the instance.
resource "google_project_iam_member" "instance_user" {
  for_each = local.iam ? toset(local.functions) : []

  project = var.project_id
  role    = "roles/cloudsql.instanceUser"
  member  = local.runtime[each.key]

  condition {
    title       = "instance of recosync"
    description = "Only the instance that the functions work with"
    expression  = "resource.type == \"sqladmin.googleapis.com/Instance\" && resource.name == \"projects/${var.project_id}/instances/${var.cloud_sql.instance}\""
  }
}
