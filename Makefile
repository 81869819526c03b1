# Two commands to begin with: make demo, make test. Each sets up what it needs.
.PHONY: demo test local lint types terraform bench setup

NOX := .venv/bin/nox

# The daily job and a day of hourly ones, on emulators. ROWS scales the daily one: make demo ROWS=3000000
demo: setup
	@.venv/bin/python -m local.demo $(if $(ROWS),--rows $(ROWS))

# All tests; or what pytest makes of ARGS: make test ARGS="tests/unit -x"
test: setup
	@$(NOX) -s $(if $(ARGS),tests -- $(ARGS),compat tests)

# The emulated cloud in the foreground, until Ctrl-C
local: setup
	@.venv/bin/python -m local.serve

lint types terraform: setup
	@$(NOX) -s $@

# Speed and memory beside their references; ARGS makes it shorter: make bench ARGS="--rows 100000 --case load"
bench: setup
	@$(NOX) -s bench -- $(ARGS)

setup:
	@./local/setup.sh
