"""The daily flow, one module per verb: export, stage, publish, refresh."""
