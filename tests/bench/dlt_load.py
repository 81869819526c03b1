"""A Parquet file into PostgreSQL by dlt: `python -m tests.bench.dlt_load FILE URL`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq


def main(file: str, url: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        # It keeps its state in HOME, and asks nobody about being watched.
        os.environ |= {"DLT_DATA_DIR": place, "RUNTIME__DLTHUB_TELEMETRY": "false"}
        import dlt

        def batches() -> Iterator[pa.Table]:
            source = pq.ParquetFile(file)
            for number in range(source.num_row_groups):
                yield source.read_row_group(number)

        destination = dlt.destinations.postgres(url)
        pipeline = dlt.pipeline("bench", pipelines_dir=place, destination=destination, dataset_name="by_dlt")
        pipeline.run(batches(), table_name="loaded", write_disposition="replace").raise_on_failed_jobs()


if __name__ == "__main__":
    main(*sys.argv[1:])
