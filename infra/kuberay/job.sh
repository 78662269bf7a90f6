#!/usr/bin/env bash
# What rayjob.yaml runs on its head: the pipeline at the commit of this checkout. Its outputs and the record of its runs
# go to the store, also where it fails, so that another attempt, and `dvc repro --pull` elsewhere, take over what was
# done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${CUHS_STORE:?names no object store, such as s3://BUCKET/cuhs}"
dvc remote add --quiet --force --local --default store "$CUHS_STORE/dvc"
trap 'dvc push --run-cache' EXIT
dvc repro --pull
