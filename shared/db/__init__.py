"""Thin adapters to PostgreSQL: connections, locks, statements, and the bulk copy."""
