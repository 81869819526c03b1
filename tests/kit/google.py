"""Google's services as the doctor asks them: answers that a test has written down, and Google's own descriptions of its
services, which judge what is asked and what is written down.
"""

from __future__ import annotations

import copy
import json
import re
from datetime import UTC, datetime
from urllib.parse import urlsplit

from local import discovery
from shared.gcp.rest import Answer, Document


class Google:
    """What Google answers: documents by their addresses, 404 where there is none. `status` refuses."""

    emulated = False

    def __init__(self, documents: dict[str, Document]) -> None:
        self.documents = copy.deepcopy(documents)
        self.status: dict[str, int] = {}
        self.date = datetime.now(UTC)
        #: What no service of Google's would be asked, or would answer.
        self.refused: list[str] = []

    def ask(self, url: str, body: Document | None = None) -> Answer:
        try:
            return self._answer(url, body)
        except discovery.UnknownError as e:
            self.refused.append(str(e))
            raise

    def _answer(self, url: str, body: Document | None) -> Answer:
        verb = "GET" if body is None else "POST"
        service = discovery.asked(url)
        service.check(verb, url, b"" if body is None else json.dumps(body).encode())
        key = url.partition("?")[0]
        if key in self.status:
            # As they word it: "The principal … lacks IAM permission \"cloudscheduler.jobs.get\" for the resource …"
            needed = ".".join(service.method(verb, urlsplit(url).path)[0].split(".")[-2:])
            message = (
                f'lacks IAM permission "{urlsplit(url).netloc.split(".")[0]}.{needed}"'
                if self.status[key] == 403
                else "no"
            )
            return Answer(self.status[key], {"error": {"message": message}}, self.date)
        found = self.documents.get(key)
        if found is None:
            return Answer(404)
        service.check_answer(verb, url, found)
        return Answer(200, found, self.date)


def incomplete(remedy: str) -> list[str]:
    """The commands of a remedy that would be about whatever project the caller's shell is set to."""
    return [
        each
        for each in re.findall("gcloud [^&]*", remedy)
        if not re.search("--project=|projects/|gs://|projects add-iam-policy-binding \\S", each)
    ]
