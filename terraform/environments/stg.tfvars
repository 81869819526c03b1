project_id  = "example-recommendation-stg"
environment = "stg"
region      = "europe-west1"

source_datasets = {
  ml_recommendation = "ml_reco_stg"
  seed              = "seed_stg"
}

cloud_sql = {
  instance             = "recommendation-stg"
  connection_limit     = 200
  reserved_connections = 100
}

vpc = { connector = "projects/example-recommendation-stg/locations/europe-west1/connectors/serverless" }

hourly_start = "YYYYMMDDTHH" # yours to choose: the first hour that the job before did not bring to BigQuery

status_viewers        = ["group:recommendation@example.com"]
notification_channels = ["projects/example-recommendation-stg/notificationChannels/1234567890"]

retention = { hours = 120 }
