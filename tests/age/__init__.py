"""What age and load do to the system: `nox -s age`. Figures are printed; nothing is judged by the clock."""
