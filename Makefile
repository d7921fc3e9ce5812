# Two commands are all that a new machine needs: `make demo` and `make test`.
# Both make their own virtual environment; PYTHON chooses the interpreter (3.11 or later).

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# What is installed: a group of pyproject.toml, in the versions that the tests ran with (or in any, with CONSTRAINTS=/dev/null).
GROUP       ?= dev
CONSTRAINTS ?= constraints.txt

# Tests that take minutes, and the rest, most of which starts real daemons and SSH servers.
QUICK := tests/unit tests/contract tests/property
REST  := tests $(QUICK:%=--ignore=%)

# A few processes take one file after the other. Quick tests wait as much as they compute; the others start daemons, which compute as well.
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile
MANY     := --numprocesses 4 --dist loadfile

.PHONY: demo test test-all quick smoke lint build constraints fuzz soak clean

demo: $(READY)
	$(BIN)/replicator demo

test: lint build quick

test-all: test
	$(BIN)/python -m pytest $(PARALLEL) $(REST)

quick: $(READY)
	$(BIN)/python -m pytest $(MANY) $(QUICK)

# Enough to tell whether another interpreter does.
smoke: $(READY)
	$(BIN)/python -m pytest $(MANY) tests/unit tests/contract
	$(BIN)/python -m pytest tests/integration/test_serve_openssh.py

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/unit/test_oldest_python.py

build: $(READY)
	$(BIN)/python -m build --no-isolation --outdir $(VENV)/dist . >$(VENV)/build.log || (cat $(VENV)/build.log; exit 1)

# Each parser under a coverage-guided engine, for SECONDS each.
SECONDS ?= 60
fuzz: $(READY)
	$(BIN)/python -m pip install --quiet --group fuzz
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

soak: $(READY)
	$(BIN)/python -m tests.soak --minutes 10

# The newest versions that pyproject.toml allows, as constraints.txt: run `make test-all` with them before they are committed.
constraints:
	$(PYTHON) -m venv --clear $(VENV)/newest
	$(VENV)/newest/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VENV)/newest/bin/python -m pip install --quiet --editable '.[aws,http]' --group dev
	(sed '/^#/!d' constraints.txt; $(VENV)/newest/bin/python -m pip freeze --exclude-editable) >$(VENV)/constraints.txt
	mv $(VENV)/constraints.txt constraints.txt

$(READY): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit("replicator needs Python 3.11 or later; set PYTHON=") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable '.[aws,http]' --group $(GROUP) --constraint $(CONSTRAINTS)
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
