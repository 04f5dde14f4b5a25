# `make help` lists what there is. Everything installs into .venv and runs from there.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# .venv/bin first: `python` in dvc.yaml's commands is found through PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup run test check ui servers remote remote-s3 format clean

help:  ## list the commands
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## create .venv and install requirements.lock and the project into it

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11, or name one with 'make setup PYTHON=/path/to/python3.11'"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip==26.3'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

run: setup  ## run the whole pipeline on params.yaml
	$(BIN)/python -m flows run

test: setup  ## run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: setup  ## ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## let ruff put the code in form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ui: setup  ## show MLflow's and Prefect's pages on what the runs left
	$(BIN)/python -m flows ui

servers: setup  ## start PostgreSQL, MLflow, Prefect and a worker on this machine
	$(BIN)/python -m flows servers

remote:  ## keep DVC's remote in another folder: make remote DIR=/data/eyas
	@test -n "$(DIR)" || { echo "give the folder: make remote DIR=/data/eyas"; exit 2; }
	$(BIN)/dvc remote modify --local local url "$(DIR)"

remote-s3:  ## keep DVC's remote on S3: make remote-s3 URL=s3://bucket/dvc [ENDPOINT=https://...]
	@test -n "$(URL)" || { echo "give the place: make remote-s3 URL=s3://bucket/dvc"; exit 2; }
	$(BIN)/dvc remote modify --local local url "$(URL)"
	@test -z "$(ENDPOINT)" || $(BIN)/dvc remote modify --local local endpointurl "$(ENDPOINT)"

clean:  ## remove caches (never data, artifacts or the environment)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build src/*.egg-info
