# The archives are really written: nothing here needs a cloud.

run "an_archive_of_a_function" {
  command = plan

  variables {
    name = "bq_export"
  }

  assert {
    condition     = endswith(output.path, "/bq_export.zip") && fileexists(output.path)
    error_message = "The archive should be written while planning."
  }

  assert {
    condition = length(setsubtract(
      ["main.py", "requirements.txt", "shared/__init__.py", "shared/catalog.toml", "sql/ledger/1.sql", "sql/view.sql",
      "shared/operate/status/page.css", "shared/operate/status/page.html.jinja", "sql/views/item_ids_mv.sql.jinja"],
      output.files
    )) == 0
    error_message = "Code, catalog, statements, templates and requirements belong in it."
  }

  assert {
    condition = alltrue([for file in output.files :
      can(regex("^(main\\.py|requirements\\.txt|shared/.+\\.(py|toml|css|jinja)|sql/.+\\.(sql|jinja))$", file))
    ])
    error_message = "Nothing else belongs in it: ${join(" ", output.files)}"
  }

  assert {
    condition = length([for file in output.files : file
    if can(regex("__pycache__|^sql/lint|^shared/operate/(cli/|__main__)", file))]) == 0
    error_message = "Neither caches, linters nor the command line belong in it."
  }
}

run "the_same_again" {
  command = plan

  variables {
    name = "bq_export"
  }

  assert {
    condition     = output.sha256 == run.an_archive_of_a_function.sha256
    error_message = "The same content should have the same hash."
  }
}

run "another_function" {
  command = plan

  variables {
    name = "gcs_import"
  }

  assert {
    condition     = output.sha256 != run.an_archive_of_a_function.sha256
    error_message = "Another main.py should have another hash."
  }

  assert {
    condition     = output.files == run.an_archive_of_a_function.files
    error_message = "All functions should have the same files."
  }
}

run "a_function_that_there_is_not" {
  command = plan

  variables {
    name = "strange"
  }

  expect_failures = [var.name]
}
