# Saccade: every task of a contributor is one target. `make install` needs Python 3.10+ and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
STAMP := $(VENV)/.installed
DOCS_VENV := .venv-docs
# make install CPU=1: torch from its index for CPUs, without the 4.6 GB that only GPUs need.
WITHOUT_CUDA := grep -vE '^(nvidia-|cuda-|triton)' requirements.lock

# Real data sets for the tests that need them; without the folder those tests say that they did not run.
SACCADE_DATA ?= $(abspath $(wildcard ../shared/data))
ifneq ($(strip $(SACCADE_DATA)),)
export SACCADE_DATA
endif

.PHONY: install demo test test-slow lint format types docs bench lock clean

install: $(STAMP)

# Compiled once: where Python may not write bytecode (containers), every process would compile torch anew, for seconds.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
ifdef CPU
	$(WITHOUT_CUDA) > $(VENV)/requirements.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --torch-backend cpu -r $(VENV)/requirements.lock
else
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
endif
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	$(BIN)/python -m compileall -q src/saccade
	touch $(STAMP)

demo: install
	$(BIN)/saccade demo

# One thread a process: two workers on two cores would only wait for each other with more. Docstring examples run too.
test: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not slow" --doctest-modules src/saccade tests

test-slow: install
	$(BIN)/pytest -m slow --timeout 3600

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install
	$(BIN)/mypy

# The tools that build the pages are kept apart from the locked environment.
docs: install
	$(BIN)/python docs/models_table.py
	$(BIN)/python docs/reference_pages.py
	test -x $(DOCS_VENV)/bin/mkdocs || $(PYTHON) -m venv $(DOCS_VENV)
	test -x $(DOCS_VENV)/bin/mkdocs || $(BIN)/uv pip install --quiet --python $(DOCS_VENV)/bin/python "mkdocs-material>=9.5" "mkdocstrings[python]>=0.29"
	$(DOCS_VENV)/bin/mkdocs build --strict

bench: install
	$(BIN)/python -m benchmarks

lock: install
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.10 --extra export --extra tune --group dev -o requirements.lock

clean:
	rm -rf $(VENV) $(DOCS_VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
