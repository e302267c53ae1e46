# demo, test, lint, bench, docs: each makes its own virtual environment when there is none.
#   make test VENV=/path/to/venv    uses an environment that has bodh already, as it is
#   make test TESTS=tests/unit      runs a part;  JOBS=0 without worker processes

VENV ?= .venv
PYTHON ?= python3
TESTS ?= tests
JOBS ?= auto
DATA ?= ../shared/data
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# threads of PyTorch and OpenMP: the worker processes are the parallelism of the tests
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# threads that wait for each other sleep after a short spin, as in the bodh command
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 2000
INPUTS := pyproject.toml constraints.txt

.PHONY: help demo test lint bench bench-cifar10 bench-transfer bench-objectives docs clean

help:
	@echo "make demo | test | lint | bench | bench-cifar10 | bench-transfer | bench-objectives | docs | clean"

ifneq ($(origin VENV),file)
  # named by the caller: taken as it is
  USE :=
  DEV :=
else
  USE := $(VENV)/.installed
  DEV := $(VENV)/.installed-dev
endif

$(VENV)/.installed: $(INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "bodh needs Python 3.11 or newer; type: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "installing into $(VENV) (a few minutes, once)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade 'pip>=25.1'
	@$(PIP) torch
	@$(PIP) -e '.[export,serve,text]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(PIP) --group test --group lint
	@touch $@

demo: $(USE)
	$(BIN)/bodh demo

test: $(DEV)
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) $(TESTS)

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# on a machine that does nothing else; those that take an hour have targets of their own
bench: $(DEV)
	$(BIN)/python benchmarks/footprint.py
	$(BIN)/python benchmarks/augmentation.py
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/pack_50k.py $(DATA)/cifar10
	$(BIN)/python benchmarks/mnist_cnn.py
	$(BIN)/python benchmarks/kill.py
	$(BIN)/python benchmarks/waiting.py
	$(BIN)/python benchmarks/mae_speed.py
	$(BIN)/python benchmarks/cached_features.py $(DATA)/cifar10

bench-cifar10: $(DEV)
	$(BIN)/python benchmarks/cifar10.py --out runs/bench-cifar10

bench-transfer: $(DEV)
	$(BIN)/python benchmarks/transfer_published.py --out runs/bench-transfer --data $(DATA)
	$(BIN)/python benchmarks/rotnet.py --out runs/bench-rotnet
	$(BIN)/python benchmarks/clothing.py --out runs/bench-clothing

bench-objectives: $(DEV)
	$(BIN)/python benchmarks/objectives.py --out runs/bench-objectives

docs: $(USE)
	$(BIN)/python docs/build.py

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dist
