# From nothing on a fresh machine: Python >= 3.11 and make are all that is needed.
#   make train    train, evaluate and draw configs/vanilla.py into runs/vanilla; on an accelerator
#                 `make train JAX=cuda13` (or cuda12, tpu)
#   make test     the whole test suite; `make test-quick` is a part of it that takes a minute
#   make docs     the site, into docs/_build/html; runs the tutorials that have changed
PYTHON ?= python3
BIN := .venv/bin
WORKDIR ?= runs/vanilla
ARGS ?=
# JAX's package for an accelerator; the CPU's if empty.
JAX ?=
INSTALLED := .venv/installed$(if $(JAX),-$(JAX))
ifeq ($(filter $(JAX),cuda12 cuda13 tpu),)
ifneq ($(JAX),)
$(error JAX=$(JAX) must be cuda12, cuda13 or tpu, or empty for the CPU)
endif
endif

.PHONY: train test test-quick check docs clean

train: $(INSTALLED)
	$(BIN)/python -m experiments.train --config=configs/vanilla.py --workdir=$(WORKDIR) $(ARGS)

PYTEST := $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder

test: .venv/installed-dev
	$(PYTEST) $(ARGS)

# The mathematics; a training that resumes bit by bit; a sweep whose member is the run alone; refusals.
QUICK := \
	tests/experiments/test_sweep_command.py::test_a_member_is_bitwise_the_run_alone \
	tests/experiments/test_end_to_end.py::test_a_damaged_newest_checkpoint_costs_some_steps_and_no_bit \
	tests/distributions \
	tests/objectives/test_bounds.py \
	tests/objectives/test_objectives.py \
	tests/experiments/test_sweep_command.py::test_bad_input_is_refused_in_one_line

test-quick: .venv/installed-dev
	$(PYTEST) $(QUICK) $(ARGS)

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

.venv/installed-cuda12 .venv/installed-cuda13 .venv/installed-tpu: .venv/bin/python requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt 'jax[$(JAX)]'
	touch $@ .venv/installed

.venv/installed-dev: .venv/bin/python requirements.txt requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@ .venv/installed

.venv/installed-docs: .venv/bin/python requirements.txt requirements-docs.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	touch $@ .venv/installed

clean:
	rm -rf .venv .cache build docs/_build docs/api *.egg-info
