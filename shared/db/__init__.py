"""Connections to PostgreSQL: their sessions, locks, patience and statements, and what their errors mean."""
