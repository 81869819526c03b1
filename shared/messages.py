"""The messages that others may build on, as their JSON schemas in docs/schemas/ describe them.

Each is a CloudEvent in Pub/Sub's binary mode
(https://github.com/googleapis/google-cloudevents/blob/main/docs/spec/pubsub.md): what describes the event stands in the
message's attributes, and its data is the body. Within a version, fields and attributes are only added. Anything else is
a new version, by another `ce-type`, and is sent beside the old one for a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from shared.documents import Count, Instant, Number

#: As JSON Schema has it, for whoever reads the schemas.
Name = Annotated[str, Meta(min_length=1)]
SnapshotText = Annotated[str, Meta(pattern="^[0-9]{8}T[0-9]{6}Z$")]
HourText = Annotated[str, Meta(pattern="^[0-9]{8}T[0-9]{2}$")]
NumberText = Annotated[str, Meta(pattern="^[1-9][0-9]{0,18}$")]
Traceparent = Annotated[str, Meta(pattern="^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")]


class Event(Struct, frozen=True, kw_only=True):
    """What CloudEvents says of each event. Who gets the same `ce-id` twice got the same event twice. `ce-traceparent`
    is missing where nobody knows the trace.
    """

    id_: Name = field(name="ce-id")
    source: Name = field(name="ce-source")
    subject: Name = field(name="ce-subject")
    time: Instant = field(name="ce-time")
    specversion: Literal["1.0"] = field(name="ce-specversion", default="1.0")
    traceparent: Traceparent | UnsetType = field(name="ce-traceparent", default=UNSET)


class PublishedAttributes(Event, frozen=True, kw_only=True):
    """The completion message: readers see a snapshot of a table. A higher publication is newer."""

    type_: Literal["recosync.table.v1.published"] = field(name="ce-type", default="recosync.table.v1.published")
    table: Name
    snapshot_id: SnapshotText
    publication: NumberText


class RefreshedAttributes(Event, frozen=True, kw_only=True):
    """A view was built anew, and readers see it."""

    type_: Literal["recosync.view.v1.refreshed"] = field(name="ce-type", default="recosync.view.v1.refreshed")
    content_type: Literal["application/json"] = field(name="content-type", default="application/json")
    view: Name


class HourDoneAttributes(Event, frozen=True, kw_only=True):
    """Rows of an hour of a log were verified in BigQuery, or the hour has none."""

    type_: Literal["recosync.hour.v1.done"] = field(name="ce-type", default="recosync.hour.v1.done")
    content_type: Literal["application/json"] = field(name="content-type", default="application/json")
    table: Name


class Held(Struct, frozen=True):
    """What a view holds of a table that it reads."""

    table: Name
    publication: Number
    snapshot_id: SnapshotText


class Refreshed(Struct, frozen=True):
    """What readers of a view see since `refreshed_at`. `views` took their places in one transaction, this one among
    them: they hold the same publications of the tables that they share.
    """

    view: Name
    views: tuple[Name, ...]
    tables: tuple[Held, ...]
    rows: Count
    build_seconds: float
    refreshed_at: Instant


class HourDone(Struct, frozen=True):
    """How far an hour of a log has come in BigQuery: `rows` of it are verified, `new_rows` of them by this batch.

    Batch 0 says that the hour has no rows. `late` says that this batch came after others, or after the hour was said to
    have none.
    """

    table: Name
    hour: HourText
    batch: Count
    rows: Count
    new_rows: Count
    late: bool
    verified_at: Instant


class Published(Struct, frozen=True):
    """The completion message. Its body is empty."""

    attributes: PublishedAttributes


class RefreshedMessage(Struct, frozen=True):
    """The message that a view stands. Its body is `data`, as JSON."""

    attributes: RefreshedAttributes
    data: Refreshed


class HourDoneMessage(Struct, frozen=True):
    """The message that an hour is done. Its body is `data`, as JSON."""

    attributes: HourDoneAttributes
    data: HourDone


def source(project: str, environment: str) -> str:
    """Where events come from, as CloudEvents has it: one deployment."""
    return f"/projects/{project}/recosync/{environment}"


def attributes(of: Event) -> Mapping[str, str]:
    """As Pub/Sub takes them."""
    found: Mapping[str, str] = msgspec.to_builtins(of)
    return found


def body(of: Struct) -> bytes:
    return msgspec.json.encode(of)
