"""What failed for good, where an operator finds it."""

from __future__ import annotations

from typing import cast

import psycopg

from shared.errors import SyncError
from shared.ledger import migrations, statements
from shared.names import SnapshotId


def record(
    connection: psycopg.Connection,
    error: SyncError,
    subject: str,
    table: str | None,
    snapshot: SnapshotId | None,
    *,
    templates: str | None = None,
) -> None:
    """Keep a permanent failure where an operator finds it; of a refresh, with the digest of the templates.

    Raises ConfigurationError when the ledger was brought up to date under this call: then that is why it failed.
    """
    migrations.refuse_newer(connection)
    values = {
        "kind": type(error).__name__,
        "table": table,
        "snapshot": str(snapshot) if snapshot else None,
        "subject": subject,
        "message": str(error),
        "templates": templates,
    }
    statements.run(connection, "record_failure", values)


def refused(connection: psycopg.Connection, table: str, templates: str) -> str | None:
    """Why a refresh of what readers see failed for good, with these templates of the views; None if it did not."""
    return cast(str | None, statements.one(connection, "refused", {"table": table, "templates": templates}))
