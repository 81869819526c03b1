"""Thin adapters to Google Cloud: one service each, one client each, made on first use."""
