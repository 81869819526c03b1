# Two commands to begin with: make demo, make test. Each sets up what it needs.
.PHONY: demo test test-all local lint types terraform airflow chaos bench bench-small e2e setup

NOX := .venv/bin/nox
ifdef SEED
export PYTEST_ADDOPTS += --randomly-seed=$(SEED)
endif

# The PostgreSQL of make demo, local and test: a version, as in make test POSTGRES=17, or an administrator's URL.
ifdef POSTGRES
export POSTGRES
endif

# A folder of your own, or what RECOSYNC_CATALOG names: make demo CATALOG=my-sync
OF := $(if $(CATALOG),--catalog $(CATALOG))

# The daily job and a day of hourly ones, on emulators. ROWS scales the daily one: make demo ROWS=3000000
demo: setup
	@.venv/bin/python -m local.demo $(OF) $(if $(ROWS),--rows $(ROWS))

# The tests, of the longest matrices a random quarter; the same again with SEED=…. Or what pytest makes of ARGS:
# make test ARGS="tests/unit -x"
test: setup
	@$(NOX) -s tests $(if $(ARGS),-- $(ARGS))

# All tests, and what differs on the oldest Python and on the newest PostgreSQL
test-all: setup
	@$(NOX) -s compat tests_newest tests_all

# The emulated cloud in the foreground, until Ctrl-C. It sees edits to the catalog
local: setup
	@.venv/bin/python -m local.serve $(OF)

lint types terraform airflow: setup
	@$(NOX) -s $@

# Schedules of faults by chance: make chaos ARGS="daily --seed 7 --schedules 1" is one that a run has printed
chaos: setup
	@$(NOX) -s chaos -- $(ARGS)

# Speed and memory beside their references; ARGS makes it shorter: make bench ARGS="--rows 100000 --case load"
bench: setup
	@$(NOX) -s bench -- $(ARGS)

# What the work costs, which may not be a quarter more than it was; make bench-small ARGS=--write has it be as it is now
bench-small: setup
	@$(NOX) -s bench_small -- $(ARGS)

# The end-to-end tests in a Google Cloud project of yours: made, paid for, removed. make e2e PROJECT=my-project, with YES=1
# unasked; make e2e PROJECT=my-project REMOVE=e2e… removes what a run has left
e2e: setup
	@.venv/bin/python -m tests.e2e.run --project "$(PROJECT)" $(if $(REGION),--region $(REGION)) $(if $(YES),--yes) \
	  $(if $(REMOVE),--remove $(REMOVE)) $(ARGS)

setup:
	@./local/setup.sh
