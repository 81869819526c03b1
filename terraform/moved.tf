# What had another address in deployments of before.

moved {
  from = module.raw_dataset.google_bigquery_table.this
  to   = google_bigquery_table.log
}

moved {
  from = module.raw_dataset.google_bigquery_table_iam_member.editor
  to   = google_bigquery_table_iam_member.log
}

moved {
  from = module.hourly_schedule
  to   = module.hourly_schedule["past_offer_context"]
}

moved {
  from = module.hourly_schedule["past_offer_context"].google_cloud_run_v2_service_iam_member.invoker
  to   = module.function["hourly_export"].google_cloud_run_v2_service_iam_member.invoker["scheduler"]
}

moved {
  from = module.daily_schedule.google_cloud_run_v2_service_iam_member.invoker
  to   = module.function["bq_export"].google_cloud_run_v2_service_iam_member.invoker["scheduler"]
}

moved {
  from = module.database_secret
  to   = module.database_secret[0]
}

moved {
  from = module.status_secret
  to   = module.status_secret[0]
}

# Once by the names in source_datasets, now by project.dataset, which no `moved` block can name: it takes no variables. To
# destroy the old ones would revoke what the new ones grant, so they are forgotten: an apply grants again what is granted.
removed {
  from = google_bigquery_dataset_iam_member.source

  lifecycle {
    destroy = false
  }
}
