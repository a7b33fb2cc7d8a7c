# Every target makes what it needs, the virtual environment included.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := build/demo
# A process per core, each with one thread and whole files of tests, so that what a file's tests share is made once.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install demo base test test-all docs-check coverage lint format types check bench clean

help:  ## say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## set up .venv with everything that work on the project needs

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --quiet -c constraints.txt -e '.[dev,plots]'
	touch $@

demo: $(STAMP)  ## train on data/, complete "Mr Watson goes", evaluate
	@mkdir -p $(DEMO)
	$(BIN)/gru-complete train data/watson.txt -m $(DEMO)/watson -c configs/demo.yaml --replace
	$(BIN)/gru-complete complete "Mr Watson goes" -m $(DEMO)/watson --echo --until paragraph
	$(BIN)/gru-complete complete "Mrs Watson goes" -m $(DEMO)/watson --echo --until paragraph
	$(BIN)/gru-complete eval -m $(DEMO)/watson --pairs data/watson-pairs.jsonl
	@echo "A fresh sample of the same world, and the best that any model could do on it:"
	$(BIN)/python -m gru_complete.sample_world corpus $(DEMO)/fresh.txt --bytes 100000 --seed 99
	$(BIN)/python -m gru_complete.sample_world score $(DEMO)/fresh.txt
	$(BIN)/gru-complete eval $(DEMO)/fresh.txt -m $(DEMO)/watson

base: $(STAMP)  ## make the built-in model anew from the texts under CORPUS (docs/base.md): an hour and a half
	mkdir -p build/base
	$(BIN)/python -m gru_complete.base "$(CORPUS)" build/base/english --replace
	rm -rf gru_complete/base/english
	cp -r build/base/english gru_complete/base/english

test: $(STAMP)  ## run the tests, without the slow ones, on all cores
	$(PYTEST) -m "not slow"

test-all: $(STAMP)  ## run all tests, on all cores
	$(PYTEST)

docs-check: $(STAMP)  ## run every command block of the documentation, the slow ones too
	$(BIN)/python -m pytest tests/docs

coverage: $(STAMP)  ## run the tests, say which lines they do not reach, and fail below 95 %
	$(PYTEST) -m "not slow" --cov --cov-report=
	$(BIN)/python -m coverage report --skip-covered --show-missing

lint: $(STAMP)  ## ruff: style and likely mistakes; import-linter: the order of the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

format: $(STAMP)  ## let ruff set the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(STAMP)  ## mypy, strict
	$(BIN)/mypy

check: lint types test  ## all that CI runs

bench: demo  ## measure speeds and quality on this machine, and kill trainings
	$(BIN)/python benchmarks/sequence_speed.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/mixture_speed.py $(DEMO)/watson
	$(BIN)/python benchmarks/cold_start.py $(DEMO)/watson
	$(BIN)/python benchmarks/runtime.py
	$(BIN)/python benchmarks/partial_words.py $(DEMO)/watson $(DEMO)/fresh.txt
	$(BIN)/python benchmarks/lines.py $(DEMO)/watson $(DEMO)/fresh.txt
	$(BIN)/python benchmarks/keystrokes.py $(DEMO)/watson $(DEMO)/fresh.txt
	$(BIN)/python benchmarks/quality.py data/watson.txt $(DEMO)/fresh.txt --minutes 1 --json benchmarks/out/watson.json
	$(BIN)/python benchmarks/kills.py

clean:  ## remove what the targets above have made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
