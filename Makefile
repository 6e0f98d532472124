# Everything happens in a private environment ($(VENV)), made on first use from pinned, hashed requirements.

PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8000
# Tests that kill and restart processes mostly wait: with three processes on two cores a core was idle for most of the run.
TEST_WORKERS ?= $(shell echo $$(( 2 * $$(getconf _NPROCESSORS_ONLN) + 1 )))
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
# Compiled once and kept, or each of the many processes that the tests start would compile the kernel anew.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m tools.services -- $(BIN)/python -m pytest
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help run test setup lint format bench soak package lock upgrade clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F '|' '{ printf "%-14s %s\n", $$1, $$2 }'

run: $(VENV)/.run ## set up and serve examples/widgets on $(HOST):$(PORT), with SQLite
	@HOST=$(HOST) PORT=$(PORT) $(BIN)/python tools/run_widgets.py

test: $(VENV)/.dev ## set up and run every test, beside real PostgreSQL, MariaDB and Redis
	@$(PYTEST) -n $(TEST_WORKERS) --dist loadgroup $(PYTEST_ARGS)

setup: $(VENV)/.dev ## set up for development, run nothing

lint: $(VENV)/.dev ## style, types and import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

format: $(VENV)/.dev ## put the code into the house style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.dev ## measure the kernel beside its peers
	@$(BIN)/python -m benchmarks

soak: $(VENV)/.dev ## the long runs, at full size
	@APP_KERNEL_SOAK=1 $(PYTEST) -m soak $(PYTEST_ARGS)

package: $(VENV)/.dev ## build wheel and sdist into dist/, and try them on every Python that is found
	@rm -rf dist && $(BIN)/python -m hatchling build
	@APP_KERNEL_SOAK=1 $(PYTEST) tests/packaging $(PYTEST_ARGS)

lock: $(VENV)/.dev ## write the pinned requirements again from pyproject.toml
	@$(COMPILE) pyproject.toml --group build --output-file requirements/run.txt $(LOCK_ARGS)
	@$(COMPILE) pyproject.toml --group build --group dev --all-extras --constraints requirements/run.txt \
		--output-file requirements/dev.txt $(LOCK_ARGS)
	@$(COMPILE) pyproject.toml --extra all --constraints requirements/dev.txt \
		--output-file requirements/all.txt $(LOCK_ARGS)
	@$(COMPILE) --group build --constraints requirements/dev.txt --output-file requirements/build.txt $(LOCK_ARGS)
	@for peer in bench-arq bench-taskiq; do \
		$(COMPILE) --group $$peer --output-file requirements/$$peer.txt $(LOCK_ARGS); done

upgrade: ## the same, taking the newest release of everything
	@$(MAKE) --no-print-directory lock LOCK_ARGS=--upgrade

clean: ## remove the environment and the caches; data/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A half-made environment (interrupted, or without pip) is made again rather than trusted.
$(VENV)/.made:
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "app_kernel needs Python 3.11 or newer; '$(PYTHON)' was not found. Install it or say make PYTHON=<path>." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "app_kernel needs Python 3.11 or newer; '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1). Say make PYTHON=<path of a newer one>." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml requirements/run.txt
	@echo "Installing what the service needs (once) ..." >&2
	@$(PIP) install --require-hashes --requirement requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml requirements/dev.txt
	@echo "Installing what development needs (once) ..." >&2
	@$(PIP) install --require-hashes --requirement requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
