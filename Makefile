# Two commands are all that a new machine needs: `make demo` and `make test`.
# Both make their own virtual environment; PYTHON chooses the interpreter (3.11 or later).

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test lint build fuzz soak clean

demo: $(READY)
	$(BIN)/replicator demo

test: lint build
	$(BIN)/python -m pytest

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

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("replicator needs Python 3.11 or later; set PYTHON=") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
