"""The code that every function deploys.

Floors, from the ground up, and imports only point down: errors, log, names, settings and catalog know no network; gcp
and db are adapters to one service each; daily is the flow between them; entry is what a function's main.py calls.
"""
