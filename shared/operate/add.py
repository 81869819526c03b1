"""Add: write the block of a table that is there at the end of the deployment's own catalog."""

from __future__ import annotations

from shared import catalog
from shared.catalog import SHIPPED, Column, Place, Source
from shared.db.postgres import connect
from shared.errors import BadRequestError, ConfigurationError, PermanentError
from shared.gcp.bigquery import TableInfo
from shared.operate import propose
from shared.operate.propose import Counted, LogProposal, TableProposal
from shared.rows import log_table
from shared.services import HourlyServices, Services
from shared.words import quantity


def table(services: Services, source: Source, name: str, *, counts: bool) -> TableProposal:
    """What the catalog may have for a BigQuery table. Its rows are counted if `counts` asks for that, and
    MAXIMUM_BYTES_BILLED allows it. Raises BadRequestError when there is no such table.
    """
    settings = services.settings
    ref = source.ref(settings.project, settings.datasets)
    found = services.bigquery.table(ref)
    if found is None:
        raise BadRequestError("does not exist", where=str(ref))
    columns, left_out = propose.columns(found.fields)
    counted = _count(services, found, columns) if counts else "nothing was counted (--no-count)"
    named = propose.source_of(ref, settings.project, settings.datasets)
    return TableProposal(name, named, columns, left_out, counted)


def log(services: HourlyServices, source: str) -> LogProposal:
    """What the catalog may have for a log, `schema.table` or `table`. Raises BadRequestError when there is no such
    table, or when it is in another schema than the logs are.
    """
    *named, name = source.split(".")
    schema = services.catalog.schema
    if named and named != [schema]:
        raise BadRequestError(f"logs are in the schema {schema}, as the catalog says", where=source)
    with connect(services.settings, "catalog add") as connection:
        found = log_table.find(connection, schema, name)
    if found is None:
        raise BadRequestError("does not exist", where=f"{schema}.{name}")
    return propose.log(name, found)


def refuse(place: Place, name: str) -> None:
    """Raise BadRequestError for the shipped catalog and a name that is taken, ConfigurationError for a catalog with
    mistakes.
    """
    if place.file.resolve() == SHIPPED.file.resolve():
        raise BadRequestError(
            "is what ships with recosync, and stays as it is",
            where=str(place.file),
            remedy="Make a folder of your own by `recosync init FOLDER`, and name it in RECOSYNC_CATALOG",
        )
    present = catalog.load(place)
    if name in {*present.tables, *present.views, *present.hourly}:
        raise BadRequestError("is in the catalog already", where=name, remedy="Give another --name, or edit its block")


def write(place: Place, block: str) -> None:
    """Append a block to the catalog, of which every byte before it stays. Nothing is written if the catalog would be
    invalid with it: raises BadRequestError that lists the mistakes.
    """
    text = catalog.text_of(place.file)
    end = "\r\n" if "\r\n" in text else "\n"
    addition = (end if text.endswith("\n") else end * 2) + block.replace("\n", end)
    try:
        catalog.parse(text + addition, place)
    except ConfigurationError as e:
        raise BadRequestError(e.what, where=f"nothing was written, for {e.where}") from None
    try:
        with place.file.open("ab") as file:
            file.write(addition.encode())
    except OSError as e:
        raise ConfigurationError(f"can't be written ({e.strerror})", where=str(place.file)) from None


def _count(services: Services, source: TableInfo, columns: list[Column]) -> Counted | str:
    """What tells the rows apart, by one query, or why nobody counted."""
    keys = propose.candidates(columns)
    if not keys:
        return "no column is of a type that tells rows apart"
    query, most = propose.count(source.ref, keys), services.settings.maximum_bytes_billed
    try:
        reads = services.bigquery.bytes_of(query, source.location)
        if most is not None and reads > most:
            return f"to count would read {quantity(reads, 'byte')}, more than MAXIMUM_BYTES_BILLED"
        ((rows, *values),) = services.bigquery.rows(source.location, query, most)
    except PermanentError as e:
        return f"to count failed: {e}"
    found = {key: int(str(value)) for key, value in zip(keys, values, strict=True)}
    return Counted(int(str(rows)), found, reads)
