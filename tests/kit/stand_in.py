"""Stands in for terraform, gcloud, bq, psql, cloud-sql-proxy, recosync and pytest, by the name that it is called by.

It writes down each call, keeps Terraform's states, and fails or hangs where STUB_FAULTS says so.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

CALLED, ARGUMENTS, HERE = Path(sys.argv[0]).name, sys.argv[1:], Path.cwd()
HOME = Path(os.environ["STUB_HOME"])
STATE = HERE / "terraform.tfstate"
#: Beside the run, which removes its folder.
MIRROR = HOME / f"{HERE.name}.state"
#: By folder: what an apply makes, in this order.
MAKES = {
    "project": ["google_compute_network.this", "google_sql_database_instance.this"],
    "terraform": [
        "google_project_iam_member.bucket_events",
        'module.function["status"].google_cloudfunctions2_function.this',
    ],
}
OUTPUTS = {
    "project": {
        "instance": {
            "name": "recosync-x",
            "connection_name": "p:r:recosync-x",
            "address": "10.8.1.2",
            "connection_limit": 50,
        },
        "database": {"name": "recommendation", "administrator": "administrator"},
        "subnetwork": "recosync-x",
        "source_datasets": {"BIGQUERY_SEED_DATASET": "seed_x"},
    },
    "terraform": {"deployment": {"project": "p"}, "function_environment": {"hourly_export": {"GCP_PROJECT_ID": "p"}}},
}


def main() -> int:
    words = [word for word in ARGUMENTS if not word.startswith(("-", "/"))]
    step = " ".join([CALLED, *words[: 4 if CALLED == "gcloud" else 2]] + ([HERE.name] if CALLED == "terraform" else []))
    with (HOME / "calls").open("a") as calls:
        calls.write(json.dumps([step, ARGUMENTS]) + "\n")
    if CALLED == "psql":
        words = {word for name, word in os.environ.items() if "PASSWORD" in name}
        with (HOME / "passwords").open("a") as passwords:
            passwords.write("".join(f"{word}\n" for word in words if word not in passwords_of()))
    fault = next_fault(step)
    if CALLED == "terraform":
        return terraform(words[0], words[1:], fault)
    if CALLED == "cloud-sql-proxy":
        return proxy()
    if CALLED in ("gcloud", "bq"):
        return gcloud(words, fault)
    return met(fault)


def tell(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def passwords_of() -> str:
    told = HOME / "passwords"
    return told.read_text() if told.exists() else ""


def next_fault(step: str) -> str | None:
    """Of the faults of a step, each is met once."""
    told = HOME / "faults.json"
    faults = json.loads(told.read_text()) if told.exists() else {}
    if not faults.get(step):
        return None
    fault: str = faults[step].pop(0)
    told.write_text(json.dumps(faults))
    return fault


def terraform(command: str, words: list[str], fault: str | None) -> int:
    state = json.loads(STATE.read_text()) if STATE.exists() else []

    def write(resources: list[str]) -> None:
        STATE.write_text(json.dumps(resources))
        MIRROR.write_text(json.dumps(resources))

    if command == "apply":
        made = MAKES[HERE.name]
        # A state is written at once where something is made, and again by whoever ends in good order.
        write(made[:1])
        code = met(fault)
        if code == 0:
            write(made)
        return code
    if command == "destroy":
        if code := met(fault):
            return code
        write([])
    if command == "state" and words[0] == "list":
        tell(*state)
    if command == "state" and words[0] == "rm":
        write([one for one in state if one != words[1]])
    if command == "output":
        tell(json.dumps({name: {"value": value} for name, value in OUTPUTS[HERE.name].items()}))
    if command == "show":
        tell("{}")
    return met(fault)


def gcloud(words: list[str], fault: str | None) -> int:
    """stands.json has what is in the project, by the words of the command that lists it."""
    if words == ["config", "get-value", "account"]:
        tell("me@example.com")
    told = HOME / "stands.json"
    stands = json.loads(told.read_text()) if told.exists() else {}
    tell(*stands.get(" ".join(words), []))
    if words[-2:-1] == ["delete"] and not fault:
        listed = " ".join([*words[:-2], "list"])
        stands[listed] = [line for line in stands.get(listed, []) if line.split()[0] != words[-1]]
        told.write_text(json.dumps(stands))
    return met(fault)


def proxy() -> int:
    import socket  # which only this one needs

    port, parent = int(ARGUMENTS[ARGUMENTS.index("--port") + 1]), os.getppid()
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(0.5)
        while os.getppid() == parent:  # a test kills a run, and nothing of it may stay
            with suppress(TimeoutError):
                server.accept()[0].close()
    return 0


def met(fault: str | None) -> int:
    """Fail; or `hang` until a SIGINT, `deaf` until the second one; or be `slow` until the file `go` is there."""
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    enough = {
        "hang": lambda: len(heard) == 1,
        "deaf": lambda: len(heard) == 2,
        "slow": lambda: (HOME / "go").exists(),
    }.get(fault or "", lambda: True)
    (HOME / "heard").write_text("0")
    if fault:
        (HOME / "at-it").touch()
    while not enough():
        time.sleep(0.01)
        (HOME / "heard").write_text(str(len(heard)))
    if fault and fault != "slow":
        sys.stderr.write(f"{CALLED} met its fault\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
