# Everything runs in .venv, which is created on first use and brought up to date when pyproject.toml changes.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# One thread per process: the arrays are small, and the tests run in parallel already.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export PYTHON

.PHONY: help demo test lint bench clean

help:
	@echo "make demo    a reaction path on GFN2-xTB: vinyl alcohol to acetaldehyde"
	@echo "make test    ruff, mypy and pytest, as CI runs them"
	@echo "make lint    ruff and mypy only"
	@echo "make bench   the reaction-path benchmark, side by side with ASE (long)"
	@echo "make clean   delete caches and build products; .venv stays"
	@echo "Python >= 3.12 is searched for; name one with PYTHON=/path/to/python."

demo: $(STAMP)
	$(BIN)/python examples/demo.py

test: lint
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

bench: $(STAMP)
	$(BIN)/sciopt bench paths

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# A .venv whose Python is gone or too old, or that has no pip, is made anew.
$(STAMP): pyproject.toml tools/find-python.sh
	@if ! $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then \
	    python=$$(sh tools/find-python.sh) || exit 1; \
	    echo "creating $(VENV) with $$python"; \
	    "$$python" -m venv --clear $(VENV) || exit 1; \
	fi
	@echo "installing sciopt and its development tools into $(VENV) (minutes, the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
