project_id  = "example-recommendation-prod"
environment = "prod"
region      = "europe-west1"

source_datasets = {
  ml_recommendation = "ml_reco_prod"
  seed              = "seed_prod"
}

cloud_sql = {
  instance             = "recommendation-prod"
  connection_limit     = 500
  reserved_connections = 350
}

vpc = { direct = { subnetwork = "projects/example-network/regions/europe-west1/subnetworks/recommendation" } }

hourly_start = "YYYYMMDDTHH" # yours to choose: the first hour that the job before did not bring to BigQuery

status_viewers        = ["group:recommendation@example.com"]
notification_channels = ["projects/example-recommendation-prod/notificationChannels/1234567890"]

# Four imports at once are as many as the tables; a table in many parts comes sooner with more.
limits = {
  gcs_import = { max_instances = 8 }
}
