"""Cloud Function: an object was finalized in the export bucket."""

import functions_framework
from cloudevents.http import CloudEvent

from shared import entry
from shared.daily import arrival
from shared.db.kept import kept

entry.bound_bodies(events=True)


@functions_framework.cloud_event
def gcs_import(event: CloudEvent) -> None:
    """Stage the part, or complete the snapshot, that the object is."""
    entry.answer_event(lambda services: arrival.handle(services, *entry.finalized_object(event), kept))
