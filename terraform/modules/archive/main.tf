# What one function is deployed from: its main.py, the code and the statements that all share, and the locked
# requirements. Nothing is built: Cloud Functions installs the requirements.

locals {
  root = coalesce(var.root, "${path.module}/../../..")

  code = setsubtract(
    setunion(
      fileset(local.root, "shared/**/*.{py,toml,css,jinja}"),
      fileset(local.root, "sql/**/*.{sql,jinja}"),
    ),
    setunion(
      # An operator's, with libraries that no function has.
      fileset(local.root, "shared/operate/cli/**"),
      fileset(local.root, "shared/operate/__main__.py"),
    )
  )

  # By the name in the archive, the name in the repository.
  files = merge(
    { for file in local.code : file => file },
    {
      "main.py"          = "functions/${var.name}/main.py"
      "requirements.txt" = "functions/requirements.txt"
    }
  )
}

data "archive_file" "this" {
  type        = "zip"
  output_path = "${path.root}/.terraform/archives/${var.name}.zip"

  # Contents, not a folder: the archive holds neither times nor modes, so equal contents make equal archives.
  dynamic "source" {
    for_each = local.files

    content {
      filename = source.key
      content  = file("${local.root}/${source.value}")
    }
  }
}
