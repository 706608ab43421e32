# Everything runs in .venv, which the first target that needs it makes from pyproject.toml and constraints.txt.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
OUT ?= runs/demo
BIN := .venv/bin
# Compiled kernels, kept from run to run.
export NUMBA_CACHE_DIR ?= $(CURDIR)/.numba_cache

.PHONY: demo test test-slow test-matrix check types docs bench gpu
.DEFAULT_GOAL := test

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[cops,examples,dev]"
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[docs]"
	touch $@

.venv/installed-bench: .venv/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[bench]"
	touch $@

demo: .venv/installed
	$(BIN)/python -m examples.cops demo $(if $(DATA),--data "$(DATA)") --out "$(OUT)"

# Torch's own threads would wait for each other where the tests' solvers and processes use every core.
test test-slow: export OMP_NUM_THREADS ?= 1

test: .venv/installed
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-slow: .venv/installed
	$(BIN)/python -m pytest -m "slow or gpu"

test-matrix: .venv/installed
	$(BIN)/nox

check: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Pyright runs in Node.js, so that it is not a part of `check`; it finds the package through the python on the path.
types: .venv/installed
	$(BIN)/python -m pip install -q -c constraints.txt pyright
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright --verifytypes difflayers --ignoreexternal
	$(BIN)/pyright --pythonpath $(BIN)/python tests/trust/typed_program.py

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/installed-bench
	$(BIN)/python -m tests.benchmarks.amwc
	$(BIN)/python -m tests.benchmarks.cuts
	$(BIN)/python -m tests.benchmarks.related
	$(BIN)/python -m tests.benchmarks.growth
	$(BIN)/python -m tests.benchmarks.layers
	$(BIN)/python -m tests.benchmarks.parallel
	$(BIN)/python -m tests.benchmarks.shortest_path

# For machines with a GPU; less than eight minutes, a line of JSON per figure.
gpu: .venv/installed
	$(BIN)/python -m tests.benchmarks.gpu --out gpu.jsonl
