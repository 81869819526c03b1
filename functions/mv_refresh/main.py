"""Cloud Function: a table was published."""

import functions_framework
from cloudevents.http import CloudEvent

from shared import entry
from shared.daily import refresh

entry.bound_bodies(events=True)


@functions_framework.cloud_event
def mv_refresh(event: CloudEvent) -> None:
    """Rebuild the views that read the table."""
    entry.answer_event(lambda services: refresh.refresh(services, *entry.completion(event)))
