"""How the two DAGs beside this file ask recosync's functions, and what an answer means to a task.

Put this file, the DAGs, and the `terraform.json` of your catalog into the folder of your DAGs. They need Airflow's own
providers google, http and standard. Each function's address is the host of a Connection of the type HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.providers.google.common.utils.id_token_credentials import get_default_id_token_credentials
from airflow.providers.http.hooks.http import HttpHook
from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import Asset, AssetAlias
from google.auth.transport.requests import Request

#: What is synced, as `recosync catalog terraform` writes it.
CATALOG: Mapping[str, Any] = json.loads(Path(__file__).with_name("terraform.json").read_text())

#: What both DAGs do after a failure that can succeed later: 5, 10 and 20 minutes after it at least, they try again.
RETRIES = {"retries": 3, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True}

DAY = timedelta(days=1)

#: Between two looks at how far something is. A triggerer waits, and no worker.
PAUSE = timedelta(seconds=60)

#: For how long an answer is waited for: somewhat longer than a function may run.
PATIENCE_SECONDS = 1860


def authorization(connection: str) -> dict[str, str]:
    """The header that a function wants: an identity token of Airflow's account, for the function's address alone
    (https://cloud.google.com/run/docs/authenticating/service-to-service).
    """
    hook, request = HttpHook(http_conn_id=connection), Request()
    hook.get_conn()
    credentials = get_default_id_token_credentials(hook.base_url.rstrip("/"), request)
    credentials.refresh(request)
    return {"Authorization": f"Bearer {credentials.token}"}


class CallFunction(HttpOperator):
    """Calls a function, and ends when `judge` has made something of the answer.

    The HTTP provider's own trigger waits for the answer. If the triggerer is started anew meanwhile, it calls again:
    the function has made a snapshot or an hour of the first call, and makes no second one.
    """

    template_fields = ()

    def __init__(
        self, *, function: str, request: Callable[[Any], tuple[dict, dict]], judge: Callable[..., Any], **task: Any
    ) -> None:
        """`request` gives the body and the headers of a run, `judge` what the task returns of an answer to it."""
        super().__init__(
            http_conn_id=f"recosync_{function}",
            endpoint="?strict=true",
            extra_options={"check_response": False, "timeout": PATIENCE_SECONDS},
            deferrable=True,
            **task,
        )
        # It is idempotent, as newer versions of the provider want to be told.
        self.warn_on_non_idempotent = False
        self.function, self.request, self.judge = function, request, judge

    def execute(self, context: Any, event: Any = None) -> None:
        body, headers = self.request(context)
        self.log.info("Calling %s: %s %s", self.function, json.dumps(body), json.dumps(headers))
        self.data = json.dumps(body)
        self.headers = {"Content-Type": "application/json", **headers, **authorization(self.http_conn_id)}
        self.execute_async(context)

    def process_response(self, context: Any, response: Any) -> Any:
        self.log.info("%s answered %d: %s", self.function, response.status_code, response.text)
        return self.judge(self, context, response)


def answer_of(response: Any) -> dict[str, Any]:
    """What a call was answered that did not fail. A failure for good fails the task, any other has it tried again."""
    answer = content(response)
    if response.status_code == 200:
        return answer
    errors = [failed["error"] for failed in answer.get("failed", ())] or [answer.get("error", response.text[:2000])]
    told = f"status {response.status_code}: {'; '.join(errors)}"
    if response.status_code in (401, 403):
        told += ". Does Airflow's account have roles/run.invoker on the function?"
    if response.status_code < 500 and response.status_code not in (408, 429):
        raise AirflowFailException(told)
    raise AirflowException(told)


def content(response: Any) -> dict[str, Any]:
    """The JSON of an answer; nothing of one that is no function's, but of what stands before it."""
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def status() -> dict[str, Any]:
    """How everything stands: docs/status.schema.json describes it. Parts that can't be read are null."""
    options = {"check_response": False, "timeout": 60}
    headers = authorization("recosync_status")
    hook = HttpHook(method="GET", http_conn_id="recosync_status")
    response = hook.run("?format=json", headers=headers, extra_options=options)
    found = content(response)
    # A report that lacks a part comes with 503.
    return found if "tables" in found else answer_of(response)


def alias(name: str) -> AssetAlias:
    """What a task that brings a table, or a log's hours, has as its inlet and outlet."""
    return AssetAlias(f"recosync {name}")


def tell(context: Any, name: str, since: datetime, news: Iterable[tuple[list[Asset], dict[str, Any]]]) -> None:
    """Emit an event of each asset, unless a run since then has told the same."""
    # Airflow's clock may be another one.
    known = [event.extra for event in context["inlet_events"][alias(name)].after((since - DAY).isoformat())]
    for assets, extra in news:
        if extra not in known:
            for asset in assets:
                context["outlet_events"][alias(name)].add(asset, extra=extra)
