"""Schedules of faults that nobody thought of, each made of its seed."""
