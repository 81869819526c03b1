"""The request for hours: what the body of a call asks for, checked before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.catalog import Catalog, HourlyTable
from shared.errors import BadRequestError
from shared.names import AHEAD, EPOCH, Hour, parse_day, planned
from shared.services import HourlyServices

#: The fields of the request's body and their JSON types.
FIELDS: Mapping[str, type] = {
    "table_name": str,
    "date": str,
    "hour": int,
    "until": str,
    "delete_from_source": bool,
    "recover_missed": bool,
}

#: The log of a call that names none, wherever it is in the catalog: calls of the job before do not name it.
DEFAULT_LOG = "past_offer_context"


@dataclass(frozen=True)
class HourlyRequest:
    """What to export: `hours`, in order; `explicit` when the caller named them. All of them have ended. A call that is
    made for the `newest` of hours is a turn of the schedule, whoever has it, and owes the day's audit.
    """

    table: HourlyTable
    hours: tuple[Hour, ...]
    explicit: bool
    newest: bool
    delete: bool
    recover: bool

    @property
    def end(self) -> Hour:
        return self.hours[-1].plus(1)


def parse(
    services: HourlyServices, body: Mapping[str, object], scheduled: datetime | None, now: datetime
) -> HourlyRequest:
    """The request that a body of FIELDS makes. Raises BadRequestError for unknown tables and impossible hours."""
    current = Hour(now)
    if scheduled is not None and scheduled > now + AHEAD:
        raise BadRequestError("the call is scheduled for the future")
    table, explicit = _log(services.catalog, body), "date" in body
    hours = _hours(body, current) if explicit else _last_complete(body, planned(scheduled, now), current)
    return HourlyRequest(
        table=table,
        hours=hours,
        explicit=explicit,
        newest=not explicit or hours[-1] == current.plus(-1),
        delete=bool(body.get("delete_from_source", False)),
        recover=bool(body.get("recover_missed", True)),
    )


def for_lost_events(catalog: Catalog, body: Mapping[str, object]) -> bool:
    """Whether a call is there for the lost events of the daily flow alone: it asks for no log and no hour, and the
    catalog has no log.
    """
    return not catalog.hourly and not {"table_name", "date", "hour", "until"} & body.keys()


def default_log(catalog: Catalog) -> str | None:
    """The log of a call that names none; None where there are several, or none."""
    logs = list(catalog.hourly)
    return DEFAULT_LOG if DEFAULT_LOG in logs else logs[0] if len(logs) == 1 else None


def _log(catalog: Catalog, body: Mapping[str, object]) -> HourlyTable:
    """The log that a body names, or means."""
    name = body.get("table_name", default_log(catalog))
    log = catalog.hourly.get(str(name))
    if log is not None:
        return log
    if not catalog.hourly:
        raise BadRequestError("the catalog has no log")
    missing = " is missing: it" if name is None else ""
    raise BadRequestError(f"table_name{missing} should be one of {', '.join(catalog.hourly)}")


def _hours(body: Mapping[str, object], current: Hour) -> tuple[Hour, ...]:
    """The hours of an explicit request: one, a day's, or a range."""
    try:
        day = parse_day(str(body["date"]))
    except ValueError:
        raise BadRequestError("date should be a day written YYYYMMDD") from None
    number = body.get("hour", 0)
    if not isinstance(number, int) or not 0 <= number <= 23:
        raise BadRequestError("hour should be a whole number from 0 to 23")
    if day < EPOCH:
        raise BadRequestError("date is before 1970")
    first = Hour.of_day(day, number)
    if first >= current:
        raise BadRequestError(f"hour {first} has not ended yet")
    if "until" in body:
        end = _until(str(body["until"]), first, current)
    elif "hour" in body:
        end = first.plus(1)
    else:
        end = min(first.plus(24), current)
    return tuple(first.until(end))


def _until(text: str, first: Hour, current: Hour) -> Hour:
    try:
        end = Hour.parse(text)
    except ValueError:
        raise BadRequestError("until should be an hour written YYYYMMDDTHH") from None
    if end <= first:
        raise BadRequestError(f"until should be after {first}: it is not among the hours itself")
    if end > current:
        raise BadRequestError(f"until should be {current} at most: later hours have not ended yet")
    return end


def _last_complete(body: Mapping[str, object], at: datetime, current: Hour) -> tuple[Hour, ...]:
    for field in ("hour", "until"):
        if field in body:
            raise BadRequestError(f"{field} needs a date")
    if at.date() <= EPOCH:
        raise BadRequestError("the call is scheduled before 1970")
    last = Hour(at).plus(-1)
    if last >= current:
        raise BadRequestError(f"hour {last} has not ended yet")
    return (last,)
