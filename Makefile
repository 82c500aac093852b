# Two commands on a fresh machine with nothing but Python 3.11 or newer:
#   make repro    set up, run the pipeline at params.yaml's settings, print the table
#   make test     set up, then all checks and tests
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH :=
SHELL := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help setup repro test lint format lock clean

help:
	@sed -n '/^[a-z]*:.*## /s/:.*## /\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(VENV)/.complete ## the virtual environment, from requirements.lock

$(VENV)/.complete: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	@echo "Installing exact versions from requirements.lock: several GB, some minutes."
	$(VENV)/bin/python -m pip install --quiet --progress-bar on --requirement requirements.lock
	@touch $@

# The cell that params.yaml does not name: an experiment of its own, so that the table holds both. It is called after
# all that it comes from: other parameters, data or code are another experiment.
OTHER := $(shell grep -q '^ *rnn: *gru' params.yaml && echo lstm || echo gru)
OTHER_NAME := $(shell echo $(OTHER) | tr a-z A-Z)
EXPERIMENT = $(OTHER)-$(shell git ls-files -z params.yaml data.dvc dvc.yaml src stages | xargs -0 cat | git hash-object --stdin | cut -c1-7)

# Data sets that params.yaml names and no file is there of.
dataset = $(shell sed -n '/^dataset:/,/^[a-z]/s/^ *$(1): *\([^ ]*\).*/\1/p' params.yaml)
MISSING = $(filter-out $(notdir $(patsubst %/,%,$(dir $(wildcard $(call dataset,root)/*/*)))),$(subst +, ,$(call dataset,name)))

repro: setup ## the main job: data, features, BLIP, GRU and LSTM, evaluation, figures, champion; then the table
	@test -z "$(MISSING)" || { test "$(MISSING)" = sample && test -e data && python -m src.data.sample; } || dvc pull --remote embedded data.dvc || dvc pull data.dvc || { test "$(MISSING)" = sample && python -m src.data.sample; } || { echo "error: $(MISSING) is missing, and no DVC remote has what data.dvc names: fetch it (python -m src.data.download NAME), or name a remote that has it (dvc remote add --default NAME URL)" >&2; exit 1; }
	@test -e outputs || rm -f dvc.lock  # of a fresh clone: DVC would look for another machine's outputs, not in its run-cache, and train BLIP twice
	@dvc exp list --name-only | grep -qx $(EXPERIMENT) || { set -x; dvc exp run --temp --name $(EXPERIMENT) -S model.rnn=$(OTHER); }
	@{ test ! -e mlruns/.rebuilding && python -m src.registry list >/dev/null; test $$? != 1; } || { set -x; mkdir -p mlruns && touch mlruns/.rebuilding && python -m src.registry sync && dvc repro && dvc repro --force --single-item promote && rm mlruns/.rebuilding; }  # no model is registered, or a rebuilding was cut short: DVC has the outputs and would run nothing
	dvc repro
	@grep -q '"$(OTHER_NAME)"' reports/evaluation.json || { dvc repro --force --single-item evaluate && dvc repro; }  # the registry is no input DVC knows
	@python -m src.summary

test: setup lint ## ruff, mypy --strict and every test
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests  # slow files first; a thread each

lint: setup
	ruff check .
	ruff format --check .
	mypy

format: setup ## ruff's fixes and layout
	ruff check --fix .
	ruff format .

lock: ## requirements.lock anew, from the bounds in pyproject.toml
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --upgrade pip
	.venv-lock/bin/python -m pip install --quiet . --group test
	.venv-lock/bin/python -m pip freeze --exclude captionlab > .venv-lock/installed
	sed -E '/^(nvidia-[a-z-]*-cu[0-9]+|nvidia-(cublas|cuda|cudnn|cufft|cufile|curand|cusolver|cusparse|cusparselt|nccl|nvjitlink|nvshmem|nvtx)[a-z0-9-]*|cuda-[a-z-]+|triton)==/s/$$/ ; sys_platform == "linux"/' .venv-lock/installed > .venv-lock/requirements.lock
	mv .venv-lock/requirements.lock requirements.lock
	rm -rf .venv-lock

clean: ## everything that can be made again (not mlruns/, not data/)
	rm -rf $(VENV) outputs .pytest_cache .mypy_cache .ruff_cache
