# `make help` lists what there is. Everything installs into .venv and runs from there.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
# .venv/bin first: `python` in dvc.yaml's commands is found through PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup run test check docs site ui servers remote remote-s3 format clean

help:  ## list the commands
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## create .venv and install requirements.lock and the project into it

# uv brings everything but torch, which pip brings beside it: pip's own settings say which build (CPU or CUDA) that is.
# The line after them adds what that build needs and the lock does not name; the last compiles all, on every core,
# so that no command has to.
$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11, or name one with 'make setup PYTHON=/path/to/python3.11'"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) 'uv==0.13.9'
	@set -e; grep '^torch==' requirements.lock > $(VENV)/torch.txt; grep -v '^torch==' requirements.lock > $(VENV)/rest.txt; \
	$(PIP) --no-deps --no-compile -r $(VENV)/torch.txt & torch=$$!; \
	$(UV) --no-deps -r $(VENV)/rest.txt; wait $$torch
	$(UV) -r requirements.lock
	$(UV) --no-deps --editable .
	$(BIN)/python -m compileall -q -j 0 -x '/(tests?|testing)/' $(VENV)/lib > /dev/null || true  # templates of some packages are no code
	@touch $@

run: setup  ## run the whole pipeline on params.yaml
	$(BIN)/eyas run

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

docs: setup  ## write docs/reference.md and docs/api.md from the code
	$(BIN)/eyas catalogue --docs docs

site: setup  ## build the documentation as a site: site/index.html
	$(BIN)/sphinx-build -W --keep-going -q -c docs . site

ui: setup  ## show MLflow's and Prefect's pages: make ui [PORT=5000], Prefect's on the next port
	$(BIN)/eyas ui $(if $(PORT),--port $(PORT))

servers: setup  ## start PostgreSQL, MLflow, Prefect and a worker on this machine
	$(BIN)/eyas servers

remote:  ## keep DVC's remote in another folder: make remote DIR=/data/eyas
	@test -n "$(DIR)" || { echo "give the folder: make remote DIR=/data/eyas"; exit 2; }
	$(BIN)/dvc remote modify --local local url "$(DIR)"

remote-s3:  ## keep DVC's remote on S3: make remote-s3 URL=s3://bucket/dvc [ENDPOINT=https://...]
	@test -n "$(URL)" || { echo "give the place: make remote-s3 URL=s3://bucket/dvc"; exit 2; }
	$(BIN)/dvc remote modify --local local url "$(URL)"
	@test -z "$(ENDPOINT)" || $(BIN)/dvc remote modify --local local endpointurl "$(ENDPOINT)"

clean:  ## remove caches (never data, artifacts or the environment)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build src/*.egg-info
