output "path" {
  description = "The archive, below the root module's .terraform: a saved plan is applied from the folder that it was made in."
  value       = data.archive_file.this.output_path
}

output "sha256" {
  description = "The hash of names and contents, in hexadecimal. Unlike that of the archive, no provider version changes it."
  value       = sha256(jsonencode({ for name, file in local.files : name => filesha256(file) }))
}

output "files" {
  description = "The names of the files in the archive."
  value       = sort(keys(local.files))
}
