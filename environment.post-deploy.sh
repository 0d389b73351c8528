#!/usr/bin/env bash
# Snakemake runs this inside an environment that it has just made from environment.yml.
set -euo pipefail

if ! grep -qs '^name = "trainatlas"' pyproject.toml; then
    echo "environment.post-deploy.sh: start Snakemake in the folder that holds trainatlas' pyproject.toml" >&2
    exit 1
fi
python -m pip install --quiet --no-deps --no-build-isolation --editable .
