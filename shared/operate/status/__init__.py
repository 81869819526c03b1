"""The status of the whole suite: gathered from the ledger and the hour manifests by reading alone, shown as a page."""

from shared.operate.status.collect import gather
from shared.operate.status.report import Report

__all__ = ["Report", "gather"]
