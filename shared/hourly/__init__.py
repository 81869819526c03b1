"""The hourly flow: each ended hour of a log table, from PostgreSQL to a BigQuery day partition, once."""
