#!/usr/bin/env bash
# rayjob.yaml runs this on its head: the pipeline at the commit of this checkout. Outputs and run cache go to the store,
# even if a stage fails, so that the next attempt, or `dvc repro --pull` elsewhere, takes over what was done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${CUHS_STORE:?names no object store, such as s3://BUCKET/cuhs}"
dvc remote add --quiet --force --local --default store "$CUHS_STORE/dvc"
trap 'dvc push --run-cache' EXIT
dvc repro --pull
