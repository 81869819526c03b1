# What one function is deployed from: its main.py, the code and the statements that all share, and the locked
# requirements. Nothing is built: Cloud Functions installs the requirements.

locals {
  root = coalesce(var.root, "${path.module}/../../..")

  # What a deployment's own folder has in place of what is shipped, by the name in the archive.
  own = var.catalog_folder == null ? {} : merge(
    { "shared/catalog.toml" = "${var.catalog_folder}/catalog.toml" },
    { for file in fileset(var.catalog_folder, "views/*.jinja") : "sql/${file}" => "${var.catalog_folder}/${file}" },
  )

  code = setsubtract(
    setunion(
      fileset(local.root, "shared/**/*.{py,toml,css,jinja}"),
      fileset(local.root, "sql/**/*.{sql,jinja}"),
    ),
    setunion(
      # An operator's, with libraries that no function has.
      fileset(local.root, "shared/operate/cli/**"),
      fileset(local.root, "shared/operate/__main__.py"),
      length(local.own) > 1 ? fileset(local.root, "sql/views/**") : toset([]),
    )
  )

  # By the name in the archive, the file.
  files = merge(
    { for file in local.code : file => "${local.root}/${file}" },
    {
      "main.py"          = "${local.root}/functions/${var.name}/main.py"
      "requirements.txt" = "${local.root}/functions/requirements.txt"
    },
    local.own,
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
      content  = file(source.value)
    }
  }
}
