"""Between functions-framework and the flow: parse a request, bind its log context, turn an outcome into an answer.

Bad input is answered with 400, and a method that is not taken with 405. A failure that can succeed later is answered to
a call with 500 and to an event with 503, so that the caller repeats it. A call that failed for good is answered with
200, or with 422 if it asked by `?strict=true`. An event that is done, foreign, stale, repeated or failed for good is
answered with 204; the last is logged as ERROR, on which alerts fire.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import flask
from gunicorn.http.errors import ParseException
from msgspec import Struct, field
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from shared import lineage, log, services, trace
from shared.documents import Count, Digits, MalformedError, Number, Reader, Text
from shared.errors import BadRequestError, BusyError, ConfigurationError, PermanentError, RetryableError, SyncError
from shared.ledger import failing
from shared.ledger.failing import Failing
from shared.names import ObjectVersion, is_identifier
from shared.services import Services
from shared.settings import CommonSettings

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent

    from shared.operate.doctor import Account

type Json = Mapping[str, object]


#: The header by which Cloud Scheduler says for when a call was planned.
SCHEDULED = "X-CloudScheduler-ScheduleTime"

#: The size of a body that is read: requests and events have some hundred bytes.
MAX_BODY_BYTES = 1 << 20


class _HasSettings(Protocol):
    @property
    def settings(self) -> CommonSettings: ...


def bound_bodies(*, events: bool = False) -> None:
    """Have the framework read no body over MAX_BODY_BYTES, and answer at once the requests at which it would crash: a
    larger body, a body that can't be read to its end, and, where a function takes `events`, a request that is no event.

    The framework executes a function's module in the context of its application.
    """
    if flask.has_app_context():
        flask.current_app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
        flask.current_app.before_request(_refuse_unread)
        if events:
            flask.current_app.before_request(_refuse_foreign)


def answer_event(handle: Callable[[Services], str]) -> None:
    """Run an event's work. The framework answers 200 to whatever returns; only an aborted request has our status."""
    log.configure()
    with _call_context(), _flushed():
        try:
            # Made at the first request: a function's import must not fail for its configuration.
            made = services.daily()
            project = made.settings.project
            # What the event is about has a longer way behind it than the event.
            with trace.bound(trace.of_headers(flask.request.headers.get), project), trace.bound(_carried(), project):
                outcome = handle(made)
                log.info(f"event done: {outcome}", outcome=outcome)
        except RetryableError as e:
            # A wrong deployment does not mend itself.
            (log.error if isinstance(e, ConfigurationError) else log.warning)("event to be retried", e)
            _tell([Failing.of(e)])
            flask.abort(flask.Response(f"{e}\n", 503, mimetype="text/plain"))
        except PermanentError as e:
            log.error("event failed for good", e)
            failing.tell_for_good(CommonSettings.as_far_as_right(), flask.current_app.name, e)
        except Exception as e:  # noqa: BLE001 - a bug is not acknowledged; its text may quote a row, so it stays out
            log.error(f"event crashed: {type(e).__name__}", e)
            _tell([Failing.of(e)])
            flask.abort(flask.Response("crashed\n", 500, mimetype="text/plain"))
    flask.abort(flask.Response(status=204))


def answer_request[S: _HasSettings](
    make: Callable[[], S],
    handle: Callable[[S], tuple[Json, int] | flask.Response],
    methods: Collection[str] = ("POST",),
) -> flask.Response:
    """Run an HTTP call's work with the services that `make` gives. `handle` gives the JSON answer and its status, or a
    response of its own. The framework hands on every method; a method that is not among `methods` does nothing.
    """
    log.configure()
    strict = False
    with _call_context(), _flushed():
        if flask.request.method not in methods:
            return _refuse_method(flask.request.method, methods)
        try:
            strict = _is_strict()
            made = make()
            with trace.bound(trace.of_headers(flask.request.headers.get), made.settings.project):
                answer = handle(made)
                if isinstance(answer, flask.Response):
                    return answer
                body, status = answer
                _tell(_failed(body))
        except BadRequestError as e:
            log.warning("bad request", e)
            # Nobody reads what Cloud Scheduler is answered.
            _tell([Failing.of(e)] if SCHEDULED in flask.request.headers else [])
            body, status = {"error": str(e)}, 400
        except RetryableError as e:
            # Whoever is at the work already is no fault.
            (log.warning if isinstance(e, BusyError) else log.error)("call to be retried", e)
            _tell([Failing.of(e)])
            body, status = {"error": str(e)}, 500
        except PermanentError as e:
            log.error("call failed for good", e)
            _tell([Failing.of(e)])
            body, status = {"failed": [{"error": str(e), "retryable": False}]}, 200
        except Exception as e:  # noqa: BLE001 - a bug; its text may quote a row, so it stays out
            log.error(f"call crashed: {type(e).__name__}", e)
            _tell([Failing.of(e)])
            body, status = {"error": "crashed; the log says where"}, 500
        if strict and status == HTTPStatus.OK and body.get("failed"):
            status = 422
        return flask.Response(json.dumps(body, indent=1) + "\n", status, mimetype="application/json")


def _is_strict() -> bool:
    """Whether the caller wants what failed for good in the status too. Cloud Scheduler does not: it would repeat it."""
    # `status` has a query of its own.
    text = flask.request.args.get("strict") if flask.request.method == "POST" else None
    if text not in (None, "true"):
        raise BadRequestError("strict should be true, or not be in the query")
    return text is not None


def answer_doctor(request: flask.Request, account: Account) -> flask.Response | None:
    """The checks of a call that asks for them; None of any other call. They are made where no services can be: why
    these can't be made is what somebody wants to know.
    """
    if request.method != "POST" or not _names_doctor(request):
        return None

    def handle(_: _Bare) -> tuple[Json, int]:
        # Imported here, because no other call needs it.
        from shared.operate import doctor

        known: Mapping[str, type] = {"doctor": bool, **({"rehearse": bool} if account == "bq_export" else {})}
        asked, checks = json_body(request, known), []
        for check in doctor.examine(doctor.Asked(account, rehearse=bool(asked.get("rehearse")))):
            checks.append(check)
            # Nobody reads what Cloud Scheduler is answered, and a call may be cut off.
            tell = log.info if check.verdict is doctor.Verdict.OK else log.warning
            tell(f"doctor: {check.line}")
        return {**doctor.fields(checks)}, 200

    return answer_request(lambda: _Bare(CommonSettings.as_far_as_right()), handle)


@dataclass(frozen=True)
class _Bare:
    """No services, and what can be read of the settings."""

    settings: CommonSettings


def _names_doctor(request: flask.Request) -> bool:
    """Whether the body has that field, whatever else it has."""
    try:
        body = json.loads(request.get_data() or b"{}")
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and bool(body.get("doctor"))


def afterwards[T](name: str, step: Callable[[], T]) -> T | None:
    """The outcome of a step after a call's own work; None when the step failed.

    The failure is logged, and told under `name` as if the step were a function of its own. It changes no answer.
    """
    settings = CommonSettings.as_far_as_right()
    try:
        outcome = step()
    except SyncError as e:
        log.failure("a step after the call failed", e)
        failing.tell(settings, name, [replace(Failing.of(e), name="")])
    except Exception as e:  # noqa: BLE001 - a bug; its text may quote a row, so it stays out
        log.error(f"a step after the call crashed: {type(e).__name__}", e)
        failing.tell(settings, name, [replace(Failing.of(e), name="")])
    else:
        failing.settle_all(settings, name, [])
        return outcome
    return None


def finalized_object(event: CloudEvent) -> tuple[ObjectVersion, int]:
    """The object that a `google.cloud.storage.object.v1.finalized` event announces, and its size in bytes.

    Raises PermanentError when the event's data is no StorageObjectData
    (https://github.com/googleapis/google-cloudevents/blob/main/proto/google/events/cloud/storage/v1/data.proto).
    """
    try:
        found = _OBJECT_READER.convert(event.get_data())
    except MalformedError as e:
        raise PermanentError(f"holds no storage object: {e}", where=f"event {event['id']}") from None
    return ObjectVersion(found.bucket, found.name, int(found.generation)), int(found.size)


def completion(event: CloudEvent) -> tuple[str, int]:
    """The table and publication of a completion message. Raises PermanentError when it lacks them."""
    try:
        attributes = _COMPLETION_READER.convert(event.get_data()).message.attributes
        if not is_identifier(attributes.table):
            raise MalformedError("message.attributes.table is the name of no table")
    except MalformedError as e:
        what = f"lacks the attributes table and publication: {e}"
        raise PermanentError(what, where=f"event {event['id']}") from None
    return attributes.table, int(attributes.publication)


class _Object(Struct, frozen=True):
    bucket: Text
    name: Text
    generation: Number | Digits
    size: Count | Digits = 0


class _Attributes(Struct, frozen=True):
    table: Text
    publication: Number | Digits


class _Message(Struct, frozen=True):
    attributes: _Attributes


class _Completion(Struct, frozen=True):
    message: _Message


_OBJECT_READER, _COMPLETION_READER = Reader(_Object), Reader(_Completion)


def json_body(request: flask.Request, fields: Mapping[str, type]) -> Json:
    """The request's JSON object, empty when there is no body. Raises BadRequestError for other fields or types."""
    try:
        body = json.loads(request.get_data() or b"{}")
    except (ValueError, RecursionError):
        raise BadRequestError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequestError("the body should be a JSON object")
    for name, value in body.items():
        if name not in fields:
            unknown = f"unknown field {name!r}" if is_identifier(name) else "a field that is unknown"
            raise BadRequestError(f"{unknown}; known are {', '.join(fields)}")
        # bool is an int in Python, not in JSON.
        if type(value) is not fields[name]:
            raise BadRequestError(f"{name} should be {_JSON_TYPES[fields[name]]}")
    return body


def scheduled_at(request: flask.Request) -> datetime | None:
    """The instant that Cloud Scheduler planned the call for, the same on each of its retries; None from other callers.

    The header is RFC 3339
    (https://cloud.google.com/scheduler/docs/reference/rest/v1/projects.locations.jobs#HttpTarget).
    """
    text = request.headers.get(SCHEDULED)
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise BadRequestError("X-CloudScheduler-ScheduleTime is no RFC 3339 time") from None


def _refuse_unread() -> flask.Response | None:
    """The answer to a body that is not read; None when it is read."""
    size = flask.request.content_length
    try:
        # Of a body that comes in chunks, the framework gives as much as is allowed.
        read = len(flask.request.get_data())
        if size is not None and read < size:
            raise ClientDisconnected
    except (OSError, ParseException, ClientDisconnected):
        # Nobody knows what it would have said: an event is not acknowledged.
        return _refusal(BadRequestError("the body can't be read: it ends early, or its chunks are malformed"), 400)
    except RequestEntityTooLarge:
        read = MAX_BODY_BYTES
    else:
        if size is not None or read < MAX_BODY_BYTES:
            return None
    error = BadRequestError(f"the body has {size or 'too many'} bytes; at most {MAX_BODY_BYTES} are read")
    return _refusal(error, 204 if "ce-id" in flask.request.headers else 400)


def _refuse_foreign() -> flask.Response | None:
    """The answer to a POST that is no event; None when it is one, as Eventarc sends them, in headers and a body of JSON
    (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#31-binary-content-mode).
    """
    headers = flask.request.headers
    if flask.request.method != "POST":
        return None  # the framework takes no other
    missing = [name for name in ("ce-id", "ce-source", "ce-type") if not headers.get(name)]
    if missing:
        return _refusal(BadRequestError(f"is no event: it has no header {' or '.join(missing)}"), 400)
    where = f"event {headers['ce-id']}"
    if headers.get("ce-specversion") not in ("1.0", "0.3"):
        return _refusal(PermanentError("ce-specversion should be 1.0", where=where), 204)
    try:
        json.loads(flask.request.get_data() or b"null")
    except (ValueError, RecursionError):
        return _refusal(PermanentError("its body is not JSON", where=where), 204)
    return None


def _refusal(error: PermanentError, status: int) -> flask.Response:
    """An answer that comes before the framework has looked at the request. It is a stream, because the framework reads
    the whole body before any other answer.
    """
    log.configure()
    with _call_context():
        if status == HTTPStatus.NO_CONTENT:
            log.error("event failed for good", error)
            return flask.Response(iter(()), status)
        log.warning("bad request", error)
        body = json.dumps({"error": str(error)}, indent=1) + "\n"
        return flask.Response(iter((body,)), status, mimetype="application/json")


def _refuse_method(method: str, methods: Collection[str]) -> flask.Response:
    """The answer to a method that a function does not take
    (https://www.rfc-editor.org/rfc/rfc9110.html#name-405-method-not-allowed).
    """
    error = BadRequestError(f"{method} does nothing here: ask with {' or '.join(methods)}")
    log.warning("bad request", error)
    body = json.dumps({"error": str(error)}, indent=1) + "\n"
    return flask.Response(body, 405, {"Allow": ", ".join(methods)}, "application/json")


def _failed(body: Json) -> list[Failing]:
    """What an answer tells as failed and to be retried, of a table each, or of the log that the call was for. What
    failed for good of them is in the ledger or the hour's manifest already.
    """
    found = body.get("failed")
    entries: list[Json] = [entry for entry in found if entry["retryable"]] if isinstance(found, list) else []
    names = [str(entry.get("table", body.get("table", ""))) for entry in entries]
    return [
        Failing(name, RetryableError.__name__, str(entry["error"]), retryable=True)
        for name, entry in zip(names, entries, strict=True)
    ]


def _tell(failures: list[Failing]) -> None:
    """Keep what the answer tells, for the status. The framework names its application after the function."""
    if failures:
        failing.tell(CommonSettings.as_far_as_right(), flask.current_app.name, failures)


_JSON_TYPES = {bool: "true or false", str: "text", list: "a list", int: "a whole number"}


@contextmanager
def _flushed() -> Iterator[None]:
    """What is told of the work beside it is told before the answer."""
    try:
        yield
    finally:
        lineage.flush()


def _call_context() -> AbstractContextManager[None]:
    """The log fields that tell one call's lines from another's."""
    headers = flask.request.headers
    fields: dict[str, object] = {
        "logging.googleapis.com/labels": {"execution_id": headers.get("Function-Execution-Id", "")}
    }
    if "ce-id" in headers:
        fields["event_id"] = headers["ce-id"]
    return log.bound(**fields)


class _Metadata(Struct, frozen=True):
    traceparent: str | None = None


class _Traced(Struct, frozen=True):
    traceparent: str | None = field(name=f"ce-{trace.TRACEPARENT}", default=None)


class _Carrier(Struct, frozen=True):
    attributes: _Traced = _Traced()


class _Carrying(Struct, frozen=True):
    """Where an event tells the trace of what it is about: in the metadata of the object, or in the message."""

    metadata: _Metadata = _Metadata()
    message: _Carrier = _Carrier()


_CARRYING_READER = Reader(_Carrying)


def _carried() -> str | None:
    """The trace of what the event is about."""
    try:
        found = _CARRYING_READER.read(flask.request.get_data())
    except MalformedError:
        return None
    return trace.parse(found.metadata.traceparent) or trace.parse(found.message.attributes.traceparent)
