"""Rows on their way: into PostgreSQL from Parquet, and out of it into Parquet, with what each type becomes."""
