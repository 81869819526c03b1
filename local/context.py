"""The API's log table, `past_offer_context`: made as the API has it, and filled as the API fills it."""

from local import logs

_LOG = logs.of_files("past_offer_context")
TABLE = _LOG.table.decode()
create, write, insert = _LOG.create, _LOG.write, _LOG.insert
