"""Processes of the emulated cloud: what one of them has is no other's, and what we start ends with us."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from local import ROOT
from local.functions import FLEET, WARM, Instance
from local.process import free_port
from local.warm import Forked
from tests.kit.background import wait_for

#: Another run of the tests: it forks a process that would stay, says which, and is gone.
PARENT = """
import os, sys, time
from pathlib import Path
from local.warm import Forked
if __name__ == "__main__":
    print(Forked(time.sleep, (600,), os.environ, Path(os.devnull)).pid, flush=True)
    os.kill(os.getpid(), 9)
"""


def tell(*names):
    sys.stdout.write(f"{[os.environ.get(name) for name in names]} {'functions_framework' in sys.modules}\n")
    sys.stdout.flush()
    sys.exit(3)


def test_a_forked_process_has_its_environment_and_log_and_what_functions_import(tmp_path):
    log = tmp_path / "log"
    process = Forked(tell, ("MINE", "HOME"), {"MINE": "1"}, log)
    assert process.wait(30) == process.returncode == process.poll() == 3
    assert log.read_text() == "['1', None] True\n"


def test_a_forked_process_can_be_killed_and_waited_for(tmp_path):
    process = Forked(signal.pause, (), {}, tmp_path / "log")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    process.kill()  # and once more, which is nothing


def test_a_forked_process_ends_with_the_process_that_wanted_it(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    ended = subprocess.run([sys.executable, script], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    wait_for(lambda: not os.path.exists(f"/proc/{int(ended.stdout)}"))


def test_instances_of_functions_have_nothing_in_common(tmp_path):
    logs = [tmp_path / f"{number}.log" for number in range(2)]
    instances = [Instance("status", FLEET["status"], log, {}, WARM) for log in logs]
    try:
        for instance in instances:
            instance.ready()
        wait_for(lambda: len(list(tmp_path.glob("*/gunicorn.ctl"))) == 2)
        assert [log.read_text() for log in logs] == ["", ""]
    finally:
        for instance in instances:
            instance.stop()


def test_nobody_else_is_given_a_port_while_we_live():
    other = [sys.executable, "-c", "from local.process import free_port; print(*(free_port() for _ in range(2000)))"]
    ours = {free_port() for _ in range(2000)}
    theirs = set(map(int, subprocess.run(other, cwd=ROOT, capture_output=True, check=True).stdout.split()))
    assert len(ours) == len(theirs) == 2000
    assert not ours & theirs
    with socket.socket() as server:
        server.bind(("127.0.0.1", ours.pop()))
