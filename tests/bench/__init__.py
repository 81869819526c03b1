"""Speed, beside the floor of what PostgreSQL allows: `nox -s bench`."""
