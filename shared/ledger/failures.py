"""Failures for good, where an operator finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import psycopg

from shared.errors import SyncError
from shared.ledger import migrations, statements
from shared.names import SnapshotId


@dataclass(frozen=True)
class PermanentFailure:
    """A failure for good: of an object, a publication or a function by name, and of what table and snapshot, as far as
    that is known; of a refresh, with the digest of its templates.
    """

    error: SyncError
    subject: str
    table: str | None = None
    snapshot: SnapshotId | None = None
    templates: str | None = None


def record(connection: psycopg.Connection, failure: PermanentFailure) -> None:
    """Keep the failure where an operator finds it.

    Raises ConfigurationError when the ledger was brought up to date under this call: then that is why it failed.
    """
    migrations.refuse_newer(connection)
    values = {
        "kind": type(failure.error).__name__,
        "table": failure.table,
        "snapshot": str(failure.snapshot) if failure.snapshot else None,
        "subject": failure.subject,
        "message": str(failure.error),
        "templates": failure.templates,
    }
    statements.run(connection, "record_failure", values)


def refused(connection: psycopg.Connection, table: str, templates: str) -> str | None:
    """Why a refresh of what readers see failed for good with these templates of the views; None if it did not."""
    return cast(str | None, statements.one(connection, "refused", {"table": table, "templates": templates}))
