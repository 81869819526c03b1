"""View templates: SQL as a DBA writes it, rendered by Jinja2: CREATE MATERIALIZED VIEW, then its indexes, and queries
that count what the view leaves out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import LiteralString

from shared.catalog import View
from shared.errors import TargetError
from shared.names import MAX_IDENTIFIER_BYTES

_COMMENTS = re.compile(r"\A(\s+|--[^\n]*(\n|\Z)|/\*.*?\*/)*", re.DOTALL)
_CREATE_VIEW = re.compile(r"CREATE\s+MATERIALIZED\s+VIEW\b", re.IGNORECASE)
_CREATE_INDEX = re.compile(r"CREATE\s+(UNIQUE\s+)?INDEX\b", re.IGNORECASE)
_SELECT = re.compile(r"SELECT\b", re.IGNORECASE)
_SLOW = re.compile(r"\bUSING\s+(hnsw|ivfflat|gist|spgist|gin)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Rendered:
    """The statements of one build. `create` makes the view without data. The indexes come slowest first. `counts` are
    queries of one row of numbers, whose names say what the view leaves out. `template` is the digest of the template.
    """

    build: str
    template: str
    create: LiteralString
    indexes: tuple[LiteralString, ...]
    counts: tuple[LiteralString, ...] = ()


def timestamp(at: datetime) -> str:
    """`ts_nodash`: unique per build, to the microsecond, because an index name is unique in its schema."""
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%S%f")


def render(view: View, ts_nodash: str) -> Rendered:
    """The statements that build the view under a name of its own.

    Raises TargetError when the template gives no such sequence of statements, uses an undefined variable, or puts
    anything but a valid identifier through the `identifier` filter.
    """
    import jinja2
    import sqlparse

    build, source = f"{ts_nodash}_{view.name}", view.template.read_text()
    # Autoescaping is for HTML; here `identifier` quotes, and the templates are deployed with the code.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701
    environment.filters["identifier"] = _identifier
    try:
        text = environment.from_string(source).render(view=build, ts_nodash=ts_nodash)
    except jinja2.TemplateError as e:
        raise _wrong(view, f"can't be rendered: {e.message}") from e
    except Exception as e:
        raise _wrong(view, f"can't be rendered ({type(e).__name__})") from e
    statements = [statement.rstrip("; \n\t") for statement in sqlparse.split(text)]
    create, *rest = [statement for statement in statements if _COMMENTS.sub("", statement)] or [""]
    counts = [statement for statement in rest if _SELECT.match(_COMMENTS.sub("", statement))]
    indexes = [statement for statement in rest if statement not in counts]
    if not _CREATE_VIEW.match(_COMMENTS.sub("", create)):
        raise _wrong(view, "does not begin with CREATE MATERIALIZED VIEW")
    if not all(_CREATE_INDEX.match(_COMMENTS.sub("", index)) for index in indexes):
        raise _wrong(view, "has a statement after the view that is neither CREATE INDEX nor SELECT")
    # Deployed with the code: as trusted as a literal.
    return Rendered(
        build,
        _digest(source),
        f"{create}\nWITH NO DATA",
        tuple(i for i in sorted(indexes, key=lambda i: not _SLOW.search(i))),
        tuple(counts),
    )


def digest(view: View) -> str:
    """What tells the view's template from any other: only the template states the view's query, indexes and storage. A
    template that can't be rendered has a digest too.
    """
    return _digest(view.template.read_text())


def digest_of_all(views: Iterable[View]) -> str:
    """The digest of the templates of several views together."""
    return _digest("".join(sorted(f"{view.name} {digest(view)}\n" for view in views)))


def is_another(view: View, built_from: Iterable[str | None]) -> bool:
    """Whether the view was built from another template than there is now. An unknown template counts as the same."""
    now = digest(view)
    return any(template is not None and template != now for template in built_from)


def outlook(view: View, *, refused: bool) -> str:
    """What becomes of a view that was built from another template. `refused` says that a refresh by its new template
    failed.
    """
    told = f"view {view.name} was built from another template than it has now"
    if refused:
        return f"{told}, by which its refresh failed for good: correct its template {view.template.name}, and deploy"
    return (
        f"{told}: hourly_export has it rebuilt within the hour, once its tables have the catalog's columns, and at once"
        f" does: recosync materialize {view.name}"
    )


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()


def _identifier(name: object) -> str:
    """The filter that quotes a name for SQL; quoted, it may begin with a digit. Anything else, or too long, is
    refused.
    """
    text = str(name)
    if not re.fullmatch(rf"[A-Za-z0-9_]{{1,{MAX_IDENTIFIER_BYTES}}}", text):
        import jinja2

        raise jinja2.TemplateRuntimeError(
            f"{text[:80]!r} is no name of letters, digits and _, {MAX_IDENTIFIER_BYTES} bytes at most"
        )
    return f'"{text}"'


def _wrong(view: View, what: str) -> TargetError:
    return TargetError(what, where=f"template {view.template.name}", remedy="Correct the template")
