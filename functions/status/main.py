"""Cloud Function: an operator, or an uptime check, looks at how things stand."""

import flask
import functions_framework

from shared import entry, services
from shared.operate.status import gather, page

entry.bound_bodies()


@functions_framework.http
def status(request: flask.Request) -> flask.Response:
    """The status page. Query: `?day=YYYYMMDD` for a day's details, `?format=json` for all of it as JSON."""

    def handle(made: services.HourlyServices) -> flask.Response:
        asked = page.parse(request.args)
        return flask.Response(*page.answer(gather(made), asked))

    return entry.answer_request(services.hourly, handle, methods=("GET", "HEAD"))
