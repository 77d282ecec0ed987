# Start with `make repro` and `make test`.
# Packages are installed into .venv from requirements.txt, which pins each with its hash.
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
# DVC runs `python -m stages.NAME`; this makes `python` that of .venv.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

.PHONY: repro sweep test test-all lint lock install clean

## repro: run the pipeline with DVC; only changed stages run
repro: $(INSTALLED)
	@python -m stages.ready
	@dvc repro
	@echo
	@python -m stages.overview
	@echo "look at:  reports/index.html            numbers, and all pages of the run"
	@echo "          data/pseudo_labels.parquet    the labels the student learned from"

## sweep: a student for each tau and seed of params.yaml; SWEEP="--jobs 2" passes options
sweep: $(INSTALLED)
	@python -m experiments.sweep $(SWEEP)

## test: run the tests, except those marked slow
test: $(INSTALLED)
	@pytest -n auto --dist worksteal -m "not slow"

## test-all: run all tests
test-all: $(INSTALLED)
	@pytest -n auto --dist worksteal

## lint: check style and types
lint: $(INSTALLED)
	ruff check .
	ruff format --check .
	mypy

install: $(INSTALLED)

$(INSTALLED): requirements.txt requirements-uv.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + " (make PYTHON=python3.12 ...)" if sys.version_info < (3, 11) else 0)'
	@echo "installing into $(VENV) (about 6 GB, most of it torch)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	@# Compile now: if byte code cannot be written later, every start would compile it again.
	@$(VENV)/bin/uv pip sync --quiet --compile-bytecode --require-hashes requirements.txt requirements-uv.txt
	@# Close DVC's site cache folder before DVC writes into it, also if `dvc` is the first command.
	@$(VENV)/bin/python -m stages.ready
	@touch $@

## lock: write requirements.txt from pyproject.toml
lock: $(INSTALLED)
	echo "uv" | uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header - -o requirements-uv.txt
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header pyproject.toml --all-extras --group dev -o requirements.txt

## clean: remove files that can be made again (not .venv)
clean:
	rm -rf .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
