# The project's commands; `make` alone lists them. All run in .venv, which the first of them builds.
.DEFAULT_GOAL := help
.PHONY: help env repro test test-all lint format params tune ablations leaderboard audit cluster-demo checkout lock ui

PORT ?= 5000
METRIC ?= all/mAP
VARIANTS ?= $(sort $(basename $(notdir $(wildcard pipelines/conf/variant/*.yaml))))
# .venv is made with the first of these that is Python 3.11 to 3.13; PYTHON=/path/to/python3.12 names another.
PYTHON ?= python3.13 python3.12 python3.11 python3
SUITS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
SUITABLE = $(shell for python in $(PYTHON); do $$python -c '$(SUITS)' 2>/dev/null && echo $$python; done)
NO_PYTHON := no Python 3.11 to 3.13 with its venv module among: $(PYTHON). Install one or name it with PYTHON=/path/to/python

# Stages call `python`, which must be the one in .venv.
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH"
HAS_COMMIT := test -e .git && git -c safe.directory='*' rev-parse --quiet --verify HEAD
NO_COMMIT := error: DVC needs git, and a commit; in a downloaded copy: git init && git add -A && git commit -m downloaded

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

env: .venv/synced ## build .venv from requirements.lock
	@:

# DVC would say less, and only after the installation.
.PHONY: repository
repository:
	@{ $(HAS_COMMIT); } >/dev/null 2>&1 || { echo "$(NO_COMMIT)" >&2; exit 2; }

repro: repository env ## run the pipeline with params.yaml: data, localiser, network, evaluation
	@$(IN_VENV) python -m dvc repro
	@$(IN_VENV) cuhs summary

test: lint ## run lint, types and all tests but the long ones: minutes
	@$(IN_VENV) python -m pytest -m "not long"

test-all: lint ## run every test, also those that break real clusters and servers
	@$(IN_VENV) python -m pytest

lint: env ## run ruff and mypy
	@$(IN_VENV) python -m ruff check --quiet
	@$(IN_VENV) python -m ruff format --check
	@$(IN_VENV) python -m mypy

format: env ## let ruff mend and format the code
	@$(IN_VENV) python -m ruff check --fix
	@$(IN_VENV) python -m ruff format

params: env ## reset params.yaml to the defaults in pipelines/conf
	@$(IN_VENV) python -c 'from dvc.utils.hydra import compose_and_dump; \
		compose_and_dump("params.yaml", "$(CURDIR)/pipelines/conf", None, "config", "$(CURDIR)", [])'

ui: env ## show the runs in the MLflow UI on http://127.0.0.1:5000 (PORT=5001 chooses another port)
	@$(IN_VENV) cuhs ui --port $(PORT)

tune: repository env ## search the parameters that the tune section of params.yaml names
	@$(IN_VENV) python -m dvc repro pipelines/dvc.yaml:tune

ablations: repository env ## run an experiment for each of the paper's variants; SET="-S data=cuhk03" applies to all of them
	@set -e; for variant in $(VARIANTS); do $(IN_VENV) python -m dvc exp run -S variant=$$variant $(SET); done
	@$(IN_VENV) cuhs leaderboard --metric all/mAP black/mAP white/mAP all/rank1

leaderboard: env ## list evaluated models with intervals, best first by METRIC="all/mAP black/rank1"
	@$(IN_VENV) cuhs leaderboard --metric $(METRIC)

audit: env ## look for known vulnerabilities in the locked packages, and for secrets in tracked files
	@$(IN_VENV) python -m pip_audit --strict --disable-pip -r requirements.lock
	@$(IN_VENV) python -m pytest -q tests/infra/test_secrets.py

cluster-demo: repository env ## start a Ray cluster, S3, PostgreSQL and MLflow on this machine, and run the pipeline on them
	@$(IN_VENV) python -m infra.local.demo

checkout: repository env ## bring back a model's code, parameters and data: make checkout RUN=<MLflow run id>
	@$(IN_VENV) cuhs checkout $(RUN)

lock: | .venv/bin/uv ## update requirements.lock after a change in pyproject.toml
	@.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra pipeline --extra dev \
		--no-header --no-annotate pyproject.toml -o requirements.lock

# Compiled once here: Ray starts many processes, and if Python may not write bytecode, each would compile its imports.
.venv/synced: requirements.lock pyproject.toml | .venv/bin/uv
	@.venv/bin/uv pip sync --compile-bytecode --python .venv/bin/python requirements.lock
	@.venv/bin/uv pip install --quiet --no-deps --no-build-isolation --python .venv/bin/python --editable .
	@touch $@

# Installs uv in the locked version and checks its hash.
.venv/bin/uv:
	@$(or $(firstword $(SUITABLE)),$(error $(NO_PYTHON))) -m venv --clear .venv
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.txt
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
