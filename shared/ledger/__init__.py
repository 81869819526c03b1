"""The ledger: what was staged, published, built and lost, in the schema `recosync`.

Plain functions over a connection; the caller owns the transaction. Nothing here decides anything.
"""
