# make demo | test | soak | lint | help. Uses .venv, and makes it if it is not there; installs only when it has to.
# Options: QUICK=1 (a small demo), TASK=apps (programs instead of summaries), OUTPUT=folder (of a demo),
# SOAK="--kills 5", PYTEST="-m slow", VENV=folder, PYTHON=/path/to/python (3.11 or newer, to make .venv with).

PYTHON ?= python3
VENV ?= .venv
QUICK ?=
TASK ?= tldr
OUTPUT ?=
SOAK ?= --kills 20
PYTEST ?=
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
RUN := PATH="$(abspath $(VENV))/bin:$$PATH"
LOCKS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint format notebooks clean

help: ## say what can be made
	@echo "make demo           SFT, reward model, PPO and MA-PPO on a generated task, with a report (20 minutes, 2 cores)"
	@echo "make demo TASK=apps SFT, PPO and MA-PPO on generated programming problems, rewarded by tests (12 minutes, 2 cores)"
	@echo "make demo QUICK=1   a smoke run (3 minutes): shows that everything works; its numbers mean nothing"
	@echo "make test           the tests and the notebooks (CPU, no network)"
	@echo "make soak           kills a tiny run 20 times and resumes it: the result must be that of a run nobody killed"
	@echo "make lint           ruff, mypy, import-linter"
	@echo "make format         let ruff format and repair what it can"
	@echo "make notebooks      run the notebooks and keep their outputs (a minute)"
	@echo "make clean          remove caches; .venv and runs/ stay"
	@echo "Options: PYTHON=/path/to/python3.11  VENV=.venv"

demo: $(VENV)/.installed ## run the main job
	@echo "==> demo: experiments/tiny/$(TASK)/demo.yaml$(if $(QUICK), (quick)). Finished stages are skipped, an interrupted one resumes."
	@$(if $(QUICK),echo "==> demo: QUICK=1 is a smoke run. It shows that everything runs; its numbers mean nothing.")
	@$(VENV)/bin/python -m lightning_marlhf reproduce experiments/tiny/$(TASK)/demo.yaml$(if $(QUICK), --quick)$(if $(OUTPUT), --output $(OUTPUT))

test: $(VENV)/.installed-dev ## run the CPU tests
	@echo "==> test: pytest on CPU, without network; the notebooks, too"
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --maxprocesses 8 --dist worksteal -q --nbmake --nbmake-timeout 600 $(PYTEST)

soak: $(VENV)/.installed-dev ## kill and resume
	@echo "==> soak: python -m tests.soak $(SOAK)"
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m tests.soak $(SOAK)

lint: $(VENV)/.installed-dev ## check style, types and layers
	@echo "==> lint: ruff format"
	@$(VENV)/bin/ruff format --check .
	@echo "==> lint: ruff check"
	@$(VENV)/bin/ruff check .
	@echo "==> lint: mypy (strict: types, records, ops, rollout)"
	@$(VENV)/bin/mypy
	@echo "==> lint: import-linter (layers)"
	@$(VENV)/bin/lint-imports --no-logo

format: $(VENV)/.installed-dev ## let ruff format and repair
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

notebooks: $(VENV)/.installed-dev ## run the notebooks
	@echo "==> notebooks: python notebooks/run.py"
	@$(VENV)/bin/python notebooks/run.py

clean: ## remove caches
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is missing or older than 3.11; say make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "==> making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(LOCKS) | $(VENV)/bin/python
	@echo "==> installing the locked dependencies into $(VENV) (a few minutes the first time)"
	@$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(LOCKS) | $(VENV)/bin/python
	@echo "==> installing the locked dependencies and the dev extra into $(VENV) (a few minutes the first time)"
	@$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $(VENV)/.installed $@
