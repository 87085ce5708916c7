# From nothing on a fresh machine: Python >= 3.11 and make are all that is needed.
#   make train    train, evaluate and draw configs/vanilla.py into runs/vanilla
#   make test     the whole test suite
#   make docs     the site, into docs/_build/html; runs the tutorials that have changed
PYTHON ?= python3
BIN := .venv/bin
WORKDIR ?= runs/vanilla
ARGS ?=

.PHONY: train test check docs clean

train: .venv/installed
	$(BIN)/python -m experiments.train --config=configs/vanilla.py --workdir=$(WORKDIR) $(ARGS)

test: .venv/installed-dev
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder $(ARGS)

# What CI asks beside the tests.
check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Warnings are errors.
docs: .venv/installed-docs
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs docs/_build/html

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; name a newer one with PYTHON=..."; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-dev: .venv/bin/python requirements.txt requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@ .venv/installed

.venv/installed-docs: .venv/bin/python requirements.txt requirements-docs.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	touch $@ .venv/installed

clean:
	rm -rf .venv .cache build docs/_build docs/api *.egg-info
