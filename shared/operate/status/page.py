"""The report as a page: HTML and CSS made here, without a script, and nothing in it that the browser has to fetch."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import BadRequestError
from shared.names import Hour, format_day, parse_day
from shared.operate.status import words
from shared.operate.status.report import Cause, DayStatus, HourState, HourStatus, LogStatus, Report, Run, Stage
from shared.words import quantity

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

_FOLDER = Path(__file__).parent

#: The class that CSS knows a state by; that of done hours also tells how many rows they have.
_CLASSES = {
    HourState.DONE: "d",
    HourState.LATE: "l",
    HourState.ACCEPTED: "a",
    HourState.EMPTY: "e",
    HourState.DELETED: "x",
    HourState.IN_PROGRESS: "p",
    HourState.DUE: "u",
    HourState.GAP: "g",
    HourState.FAILED: "f",
    HourState.DAMAGED: "m",
    HourState.NOT_OWNED: "n",
    HourState.TO_COME: "n",
}

#: Shades of a done hour, by its share of the busiest hour's rows.
_SHADES = 4

#: Tables, or days, that are named where failures have one cause.
_NAMED = 8


@dataclass(frozen=True)
class Asked:
    """What a request asks for: the report as JSON, or the page with a day's details, by default the newest's."""

    json: bool
    day: date | None


def parse(arguments: Mapping[str, str]) -> Asked:
    """The query's `format` and `day`. Raises BadRequestError."""
    form, day = arguments.get("format", "html"), arguments.get("day")
    if form not in ("html", "json"):
        raise BadRequestError("format should be html or json")
    try:
        return Asked(form == "json", parse_day(day) if day is not None else None)
    except ValueError:
        raise BadRequestError("day should be a date, written YYYYMMDD") from None


def answer(report: Report, asked: Asked) -> tuple[bytes, int, dict[str, str]]:
    """Body, status and headers. What could not be read makes it a 503, so that an uptime check sees it."""
    kind = "application/json" if asked.json else "text/html; charset=utf-8"
    body = report.to_json() if asked.json else render(report, asked.day).encode()
    return body, 200 if report.complete else 503, {"Content-Type": kind, **_headers()}


def render(report: Report, day: date | None = None) -> str:
    """The page. Whatever came from data is escaped by the template."""
    return _template().render(report=report, now=report.made_at, chosen=day, css=_css())


def _headers() -> dict[str, str]:
    digest = base64.b64encode(hashlib.sha256(_css().encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return {
        "Content-Security-Policy": f"{policy}; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


@cache
def _css() -> str:
    return (_FOLDER / "page.css").read_text()


@cache
def _template() -> Template:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(_FOLDER),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "breakable": _breakable,
        "brief": words.brief,
        "clip": words.clip,
        "duration": words.duration,
        "day": format_day,
    }
    environment.globals |= {
        "ago": words.ago,
        "instant": words.instant,
        "counted": quantity,
        "names": _names,
        "hours": _hours,
        "share": _share,
        "longest": _longest,
        "cell": _cell,
        "busiest": _busiest,
        "legend": _legend,
        "shown": _shown,
        "classes": _CLASSES,
    }
    return environment.get_template("page.html.jinja")


def _breakable(name: str) -> Markup:
    """A name that may be broken after each underscore."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(part) for part in name.split("_"))


def _names(cause: Cause) -> Markup:
    """What failed, as far as a line has room for it."""
    from markupsafe import Markup

    told = Markup(", ").join(_breakable(words.clip(name, 63)) for name in cause.subjects[:_NAMED])
    more = len(cause.subjects) - _NAMED
    return told + f" and {more:,} more" if more > 0 else told


def _hours(subjects: Iterable[str]) -> str:
    """Hours by day: `18 Nov 11, 12 h; 20 Nov 3 h`."""
    hours = sorted(Hour.parse(subject) for subject in subjects)
    days = [
        f"{day.day} {day:%b} {', '.join(str(hour.number) for hour in of_day)} h"
        for day, of_day in groupby(hours, key=lambda hour: hour.day)
    ]
    more = len(days) - _NAMED
    return "; ".join(days[-_NAMED:]) + (f"; and {quantity(more, 'day')} before" if more > 0 else "")


def _longest(runs: tuple[Run, ...]) -> float:
    return max((stage.seconds or 0 for run in runs for stage in run.stages), default=0)


def _share(stage: Stage, longest: float) -> int:
    """The length of a stage's bar, of 100: never nothing, for what took a moment was done."""
    return max(1, round(100 * (stage.seconds or 0) / longest)) if longest else 1


def _busiest(log: LogStatus) -> int:
    return max((hour.rows for hour in log.hours), default=0)


def _cell(hour: HourStatus, busiest: int) -> str:
    shade = min(_SHADES, 1 + hour.rows * _SHADES // busiest) if hour.state is HourState.DONE and busiest else ""
    return f"{_CLASSES[hour.state]}{shade}"


def _legend(log: LogStatus) -> list[tuple[HourState, int]]:
    """The states that occur, and how often."""
    counts = {state: sum(hour.state is state for hour in log.hours) for state in HourState}
    unmarked = (HourState.NOT_OWNED, HourState.TO_COME)
    return [(state, count) for state, count in counts.items() if count and state not in unmarked]


def _shown(log: LogStatus, chosen: date | None) -> DayStatus | None:
    """The day whose details are shown: the one asked for, or the newest."""
    if chosen is None:
        return log.days[0] if log.days else None
    return next((day for day in log.days if day.date == chosen), None)
