"""The code that every function deploys.

Floors, from the ground up, and imports only point down: words, errors, log, documents, names, settings and catalog know
no network. duck is DuckDB; gcp and db are adapters to one service each. rows are rows on their way, ledger what the
suite remembers, target what readers know. daily and hourly are the flows. upkeep and operate stand beside them, and a
function's main.py calls entry.
"""
