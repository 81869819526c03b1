project_id  = "example-recommendation-dev"
environment = "dev"
region      = "europe-west1"

source_datasets = {
  ml_recommendation = "ml_reco_dev"
  seed              = "seed_dev"
}

cloud_sql = {
  instance             = "recommendation-dev"
  connection_limit     = 100
  reserved_connections = 30
}

vpc = { direct = { subnetwork = "recommendation-dev" } }

hourly_start = "20260101T00"
keep_data    = false

retention = {
  snapshots      = 7
  hours          = 60
  raw_partitions = 90
}
