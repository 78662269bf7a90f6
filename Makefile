# The ways into the project; `make` alone lists them. All of them run in .venv, which the first one builds.
.DEFAULT_GOAL := help
.PHONY: help env repro test test-all lint format params tune ablations leaderboard audit cluster-demo checkout lock ui

PORT ?= 5000
METRIC ?= all/mAP
VARIANTS ?= baseline bn bn_head_shoulder one_in gap gmp fixed_region torso leg fused cuhs
# The first of these that is a Python 3.11 to 3.13 makes .venv; PYTHON=/path/to/python3.12 names another.
PYTHON ?= python3.13 python3.12 python3.11 python3
SUITS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
SUITABLE = $(shell for python in $(PYTHON); do $$python -c '$(SUITS)' 2>/dev/null && echo $$python; done)
NO_PYTHON := no Python 3.11 to 3.13 with its venv module among: $(PYTHON). Install one or name it with PYTHON=/path/to/python

# Stages call `python`; what they start has to find the same one.
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH"

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

env: .venv/synced ## build .venv from requirements.lock
	@:

repro: env ## run the pipeline with params.yaml: data, localiser, network, evaluation
	@$(IN_VENV) python -m dvc repro
	@$(IN_VENV) cuhs summary

test: lint ## lint, types and all tests but the long ones: minutes
	@$(IN_VENV) python -m pytest -m "not long"

test-all: lint ## the same with the long tests: clusters, servers and the main job, and all that can fail of them
	@$(IN_VENV) python -m pytest

lint: env ## ruff and mypy
	@$(IN_VENV) python -m ruff check --quiet
	@$(IN_VENV) python -m ruff format --check
	@$(IN_VENV) python -m mypy

format: env ## let ruff mend and format the code
	@$(IN_VENV) python -m ruff check --fix
	@$(IN_VENV) python -m ruff format

params: env ## compose params.yaml anew from the defaults in pipelines/conf
	@$(IN_VENV) python -c 'from dvc.utils.hydra import compose_and_dump; \
		compose_and_dump("params.yaml", "$(CURDIR)/pipelines/conf", None, "config", "$(CURDIR)", [])'

ui: env ## the runs in the MLflow UI on http://127.0.0.1:5000 (PORT=5001 chooses another port)
	@$(IN_VENV) cuhs ui --port $(PORT)

tune: env ## search the parameters that params.yaml's tune section names
	@$(IN_VENV) python -m dvc repro pipelines/dvc.yaml:tune

ablations: env ## the paper's variants, one experiment each: SET="-S data=cuhk03 -S profile=mobile" goes with all
	@set -e; for variant in $(VARIANTS); do $(IN_VENV) python -m dvc exp run -S variant=$$variant $(SET); done
	@$(IN_VENV) cuhs leaderboard --metric all/mAP black/mAP white/mAP all/rank1

leaderboard: env ## evaluated models by METRIC="all/mAP black/rank1", with intervals
	@$(IN_VENV) cuhs leaderboard --metric $(METRIC)

audit: env ## known vulnerabilities of the locked packages, and secrets in tracked files
	@$(IN_VENV) python -m pip_audit --strict --disable-pip -r requirements.lock
	@$(IN_VENV) python -m pytest -q tests/infra/test_secrets.py

cluster-demo: env ## a Ray cluster, S3, PostgreSQL and MLflow on this machine, and the pipeline run on them
	@$(IN_VENV) python -m infra.local.demo

checkout: env ## code, parameters and data of a model: make checkout RUN=<MLflow run id>
	@$(IN_VENV) cuhs checkout $(RUN)

lock: | .venv/bin/uv ## resolve requirements.lock anew after a change in pyproject.toml
	@.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra pipeline --extra dev \
		--no-header --no-annotate pyproject.toml -o requirements.lock

# Compiled once here: Ray starts many processes, and where Python writes no bytecode each would compile all it imports.
.venv/synced: requirements.lock pyproject.toml | .venv/bin/uv
	@.venv/bin/uv pip sync --compile-bytecode --python .venv/bin/python requirements.lock
	@.venv/bin/uv pip install --quiet --no-deps --no-build-isolation --python .venv/bin/python --editable .
	@touch $@

# uv comes in the locked version, its hash checked.
.venv/bin/uv:
	@$(or $(firstword $(SUITABLE)),$(error $(NO_PYTHON))) -m venv --clear .venv
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.txt
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
