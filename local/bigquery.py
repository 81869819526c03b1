"""BigQuery on loopback: local-bigquery in its own process, mended by local.bigquery_server."""

import sys
from pathlib import Path

from local import CACHE
from local.process import Process, answers, free_port


class BigQuery(Process):
    """Datasets and tables on disk under `folder`, or in memory alone, where no statement waits for the disk; an extract
    gets a part per `rows_per_part` rows.
    """

    def __init__(self, folder: Path, project: str, storage_url: str, rows_per_part: int, *, in_memory: bool) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # DuckDB keeps its extensions in HOME: one in the cache, so that the user's stays as it is.
        home = CACHE / "bigquery"
        home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "local.bigquery_server", "serve", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--grpc-port", str(free_port())]
        command += ["--project", project, "--data-dir", str(folder / "bigquery")]
        env = {"HOME": str(home), "STORAGE_EMULATOR_HOST": storage_url, "ROWS_PER_PART": str(rows_per_part)}
        env["IN_MEMORY"] = "1" if in_memory else ""
        super().__init__("BigQuery", command, folder / "bigquery.log", env)

    def ready(self) -> None:
        self.wait_ready(lambda: answers(f"{self.url}/bigquery/v2/projects"))
