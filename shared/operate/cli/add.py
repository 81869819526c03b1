"""The command that writes a block of the catalog from a table that is there."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import BadRequestError
from shared.operate.cli.commands import AsJson, Verbose, daily_services
from shared.operate.cli.folder import CATALOG as CATALOG
from shared.operate.cli.output import reporting

if TYPE_CHECKING:
    from shared.catalog import Source


@CATALOG.command("add", example="recosync catalog add analytics.similar_artist")
def add(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A BigQuery table, [PROJECT.]DATASET.TABLE.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The table's name in PostgreSQL, if not its source's.")
    ] = None,
    prints: Annotated[bool, typer.Option("--print", help="Print the block, and write nothing.")] = False,
    no_count: Annotated[bool, typer.Option("--no-count", help="Look for no key.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write the block of a table that is there at the end of the catalog.

    The block has the table's columns with their types, what can't travel as comments that say why, and a key if
    counting proves one. The shipped catalog is left as it is.
    """
    with reporting(as_json, verbose) as output:
        from shared import catalog
        from shared.operate import add, propose
        from shared.operate.propose import Counted
        from shared.words import quantity

        place = catalog.Place.here()
        asked = _source(source)
        name = name or propose.name_of(asked.table)
        if not prints:
            add.refuse(place, name)
        proposal = add.table(daily_services(), asked, name, counts=not no_count)
        block = proposal.block()
        counted = proposal.counted if isinstance(proposal.counted, Counted) else None
        written = None if prints else str(place.file)
        output.done = {"name": name, "block": block}
        if not prints:
            add.write(place, block)
        read = f"To look for a key, BigQuery read {quantity(counted.bytes, 'byte')}." if counted else ""
        if prints and not as_json:
            # Nothing but TOML, as it is to be pasted.
            output.raw(f"{block}{read and f'# {read}'}\n".encode())
        elif not prints:
            output.line(f"{place.file} ends now with:\n\n{block}\n{read}")
            output.line("Look it over, and then:")
            output.command("recosync catalog check --live")
        output.document(
            {
                "name": name,
                "written": written,
                "block": block,
                "key": proposal.key,
                "left_out": [asdict(column) for column in proposal.left_out],
                "rows": counted.rows if counted else None,
                "bytes": counted.bytes if counted else None,
            }
        )


def _source(text: str) -> Source:
    from shared.catalog import Source

    try:
        return Source.parse(text)
    except ValueError as e:
        raise BadRequestError(str(e), where=text) from None
