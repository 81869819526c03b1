"""The templates' filter, for sqlfluff."""

SQLFLUFF_JINJA_FILTERS = {"identifier": lambda name: f'"{name}"'}
