"""An interrupted command leaves at once, whatever its threads are at."""

import os
import signal
import socket
import subprocess
import sys

from tests.kit.snapshots import TABLE

#: A shell may have had SIGINT ignored for the tests, and so for what they start.
COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from shared.operate.cli import main
sys.argv = ["recosync", "export", *sys.argv[1:]]
main()
"""


def test_a_command_whose_thread_waits_for_google_leaves_at_once(here):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        environment = {**os.environ, "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        command = [sys.executable, "-c", COMMAND, TABLE, "--date", "20260105"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                asked, _ = silent.accept()
                with asked:
                    process.send_signal(signal.SIGINT)
                    assert process.communicate(timeout=30) == (b"", b"")
            finally:
                process.kill()
    assert process.returncode == 130
