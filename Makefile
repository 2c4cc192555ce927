# One command for each daily need. `make demo` and `make test` are all that a newcomer types.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What is installed, and when: a stamp a set of extras, renewed when pyproject.toml changes.
BASE_STAMP := $(VENV)/.installed-base
DEV_STAMP := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# The tests start hundreds of processes: none has to compile all of the source again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo miniature test test-avx2 test-slow check format bench docs clean

demo: $(BASE_STAMP)
	$(BIN)/headstart demo

miniature: $(BASE_STAMP)
	$(BIN)/headstart miniature

# Processes beside each other, of one thread each: threads of several would fight for the cores.
test: $(DEV_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses auto --maxprocesses 4 \
		--dist worksteal

# What a processor of 2013 computes: no AVX-512, no bfloat16; and this time with all threads.
test-avx2: $(DEV_STAMP)
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell \
		MKL_ENABLE_INSTRUCTIONS=AVX2 HEADSTART_BFLOAT16=off \
		$(BIN)/python -m pytest -m "not slow" tests/probe tests/features tests/analysis \
		tests/stats tests/test_docs.py

test-slow: $(DEV_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --numprocesses auto --maxprocesses 4 \
		--dist worksteal

check: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src docs README.md CONTRIBUTING.md --skip "*.json,*.csv,*.svg,*.html"

format: $(DEV_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BASE_STAMP)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/analysis.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/features.py
	$(BIN)/python benchmarks/many_models.py
	$(BIN)/python benchmarks/warm_trial.py
	$(BIN)/python benchmarks/finetune.py
	$(BIN)/python benchmarks/steps.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/probe.py
	$(BIN)/python benchmarks/predictors.py
	$(BIN)/python benchmarks/rank.py

docs: $(DEV_STAMP)
	$(BIN)/python scripts/write_errors.py
	$(BIN)/python scripts/build_docs.py build/docs
	@echo "open build/docs/index.html"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(BASE_STAMP): pyproject.toml | $(VENV)/bin/python
	@echo "installing headstart into $(VENV) (PyTorch is a few GB: some minutes the first time)"
	$(PIP) install --editable '.[embedded,export]'
	@touch $@

$(DEV_STAMP): pyproject.toml | $(VENV)/bin/python
	@echo "installing headstart and its development tools into $(VENV)"
	$(PIP) install --editable '.[embedded,dev]'
	@touch $@ $(BASE_STAMP)

clean:
	rm -rf $(VENV) build headstart-demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
