terraform {
  # Write-only arguments, which keep the database URLs out of plans and state, came with 1.11.
  required_version = ">= 1.11, < 2"

  required_providers {
    google = {
      source = "hashicorp/google"
      # 7.21 brought a function's direct way into a network, 7.26 its validation.
      version = ">= 7.26, < 8"
    }
    time = {
      source  = "hashicorp/time"
      version = ">= 0.10, < 1"
    }
    archive = {
      source  = "hashicorp/archive"
      version = "~> 2.7"
    }
  }
}

provider "google" {
  project = var.project_id
  region  = var.region

  default_labels = {
    application = "recosync"
    environment = var.environment
  }
}
