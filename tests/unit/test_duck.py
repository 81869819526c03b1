"""What DuckDB's errors mean, however they are handed on. The texts are DuckDB's own."""

import subprocess
import sys

import pytest

from shared.catalog import ROOT
from shared.duck import Fault, fault

MEANINGS = {
    "IO Error: Could not connect to server error for HTTP HEAD to 'http://h/o'": Fault.LATER,
    "INTERRUPT Error: Interrupted!": Fault.LATER,
    "FATAL Error: Failed: database has been invalidated": Fault.LATER,
    "TransactionContext Error: Current transaction is aborted": Fault.LATER,
    "HTTP Error: Request returned HTTP 503 for HTTP HEAD to 'http://h/o'": Fault.LATER,
    "HTTP Error: HTTP GET error on 'http://h/o' (HTTP 401 Unauthorized)": Fault.LATER,
    "HTTP Error: HTTP GET error on 'http://h/o' (HTTP 408 Request Timeout)": Fault.LATER,
    "HTTP Error: HTTP GET error on 'http://h/o' (HTTP 429 Too Many Requests)": Fault.LATER,
    "HTTP Error: HTTP GET error on 'http://h/o' (HTTP 400 Bad Request)": Fault.DEPLOYMENT,
    "HTTP Error: HTTP GET error on 'http://h/o' (HTTP 403 Forbidden)": Fault.DEPLOYMENT,
    "HTTP Error: HTTP GET error on 'http://h/o' (HTTP 404 Not Found)": Fault.GONE,
    "HTTP Error: HTTP GET error on 'http://h/o' (HTTP 416 Range Not Satisfiable)": Fault.CUT_OFF,
    "Out of Memory Error: failed to allocate data of size 16.0 MiB (47.5 MiB/61.0 MiB used)": Fault.MEMORY,
    "Conversion Error: Could not convert string 'IO Error: HTTP 503' to INT32": Fault.CONTENT,
    "Invalid Input Error: unfit": Fault.CONTENT,
    "Out of Range Error: Overflow in multiplication": Fault.CONTENT,
    "TProtocolException: Invalid data": Fault.UNCLEAR,
    "IO Error: Could not read enough bytes from file": Fault.UNCLEAR,
    "Transferred a partial file": Fault.LATER,
    "Invalid Error: Failure when receiving data from the peer": Fault.LATER,
    "Invalid Error: Out of buffer": Fault.UNCLEAR,
    "Conversion Error: Could not convert string 'x error for HTTP GET to y' to INT32": Fault.CONTENT,
    "IO Error: Unable to read binary COPY data from Postgres: SSL connection has been closed unexpectedly": Fault.LATER,
    'Failed to execute query "BEGIN": server closed the connection unexpectedly\n\tbefore or while': Fault.LATER,
    'Binder Error: Failed to prepare query "SELECT i": no connection to the server': Fault.LATER,
    "IO Error: Failed to fetch header for COPY: ERROR:  division by zero": Fault.SERVER,
    'Binder Error: Failed to prepare query "SELECT i": FEHLER:  Spalte »i« existiert nicht': Fault.SERVER,
    "Binder Error: No function matches the given name": Fault.CONTENT,
}


@pytest.mark.parametrize("text", MEANINGS)
@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_an_error_means_what_its_type_says_and_no_value_in_it(kind, text):
    assert fault(kind(text)) is MEANINGS[text]


def test_no_progress_is_shown_where_the_process_is_taken_for_a_shell():
    """Not by the first statement either: a process may be stopped during any of them."""
    code = """
import duckdb
from shared import duck

shown = []
connect = duckdb.connect


class Told:
    def __init__(self, connection):
        self.connection = connection

    def execute(self, statement):
        shown.extend(self.connection.execute("SELECT current_setting('enable_progress_bar')").fetchone())
        return self.connection.execute(statement)

    def cursor(self):
        return Told(self.connection.cursor())


duckdb.connect = lambda config: Told(connect(config=config))
instance = duck.connect("httpfs", {})
instance.execute("SELECT 1")
instance.cursor().execute("SELECT 1")
print(connect().execute("SELECT current_setting('enable_progress_bar')").fetchone()[0], *shown)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", *["False"] * 3]
