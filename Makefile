PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
# A process a core, whole files each, in the order of the folders: the longest tests run first.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast check format bench digests faults clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## Create .venv and install everything pinned in constraints.txt (the other targets do it too)

$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing into .venv; this takes a few minutes the first time."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[worker,dev]'
	touch $@

demo: $(INSTALLED)  ## Distil the bundled digits end to end and print what the result is worth
	$(BIN)/dapple demo $(ARGS)

test: $(INSTALLED)  ## Run every test; what cannot run here is listed with its reason
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-fast: $(INSTALLED)  ## Run the fast unit tests, within a minute
	$(BIN)/python -m pytest tests/unit tests/architecture -m "not slow" $(PARALLEL) $(ARGS)

check: $(INSTALLED)  ## Check format, lint, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

format: $(INSTALLED)  ## Format the code and fix what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-digits  ## Run the benchmark on the bundled digits

bench-%: $(INSTALLED)  ## Run bench/NAME.py, as in make bench-digits ARGS="--json result.json"
	$(BIN)/python -m bench.$* $(ARGS)

digests: $(INSTALLED)  ## Print the SHA-256 of ten small archives and of the OpenAPI document, to compare two revisions
	@$(BIN)/python -m tests.digests

faults: $(INSTALLED)  ## Run 1,000 jobs under 200 faults on services of their own; ends with one line of JSON
	@$(BIN)/python -m tests.faults $(ARGS)

clean:  ## Remove .venv, caches and the demo's output
	rm -rf .venv build dist *.egg-info demo-output .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
