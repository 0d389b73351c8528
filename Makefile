# Everything runs from .venv, which `make setup` builds; nothing needs activating.
SHELL := /bin/bash
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

# The study that `make report` runs: make report STUDY=benchmarks/mine.yaml
STUDY ?= benchmarks/digits.yaml
# One of the study's profiles: make report STUDY=benchmarks/cifar10.yaml PROFILE=quick
PROFILE ?=
# What reports are written in, other than their files say: make report REPORT_LANGUAGE=ko
REPORT_LANGUAGE ?=
NAME = $(basename $(notdir $(STUDY)))$(if $(PROFILE),-$(PROFILE))
# More words for Snakemake: make report SNAKEMAKE_ARGS="--profile profiles/slurm"
SNAKEMAKE_ARGS ?= --cores all
# More words for pytest: make test PYTEST_ARGS="-k planning"
PYTEST_ARGS ?=

# Numbers of trials to measure; 1000000 takes about half an hour, 14 GB of disk and is not among them by default
SCALE_SIZES ?= 1000 10000 100000

# Numbers of trials of the made-up studies whose reports `make bench` measures
REPORT_SIZES ?= 500 5000 10000

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev report example claims test test-cluster lint format bench scale calibration container translations schemas lock clean distclean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## build .venv with all that a report needs (about 3 minutes once, a second after)
	@bash scripts/setup.sh

setup-dev: ## the same, and what the tests need from the system
	@bash scripts/setup.sh --dev

report: setup ## train, analyse and write the report of STUDY (default benchmarks/digits.yaml)
	@test -f "$(STUDY)" || { echo "make report: there is no study $(STUDY); at hand: $(wildcard benchmarks/*.yaml)" >&2; exit 2; }
	@$(BIN)/snakemake $(SNAKEMAKE_ARGS) --config study="$(STUDY)" profile="$(PROFILE)" language="$(REPORT_LANGUAGE)"
	@printf '%s\n' "reports/$(NAME)/index.html" "reports/$(NAME)/report.pdf"

example: setup ## make the example report in reports/example anew (quick edition of the default study, in English and Korean)
	@$(BIN)/snakemake $(SNAKEMAKE_ARGS) --config study=benchmarks/digits.yaml profile=quick
	@$(BIN)/trainatlas report benchmarks/digits.yaml --profile quick --language ko --reports results/example-in-korean
	@rm -rf reports/example
	@cp -r reports/digits-quick reports/example
	@rm -f reports/example/figures/.snakemake_timestamp
	@cp results/example-in-korean/digits-quick/report.pdf reports/example/report-ko.pdf

claims: setup ## train the studies that the lecture notes' claims rest on, and give verdicts (quick editions)
	@$(BIN)/snakemake $(SNAKEMAKE_ARGS) claims --config profile=quick language="$(REPORT_LANGUAGE)"
	@printf '%s\n' reports/claims-quick/index.html reports/claims-quick/report.pdf

# A file's tests run in one process, so that what they share is built once. Three for two cores: some wait more than they work.
test: setup-dev ## run the tests, on two cores (27 minutes)
	@$(BIN)/pytest -n 3 --dist loadscope --no-loadscope-reorder $(PYTEST_ARGS)

test-cluster: setup-dev ## run only what submits to a real SLURM on loopback, undisturbed and through faults (7 minutes)
	@$(BIN)/pytest tests/cluster $(PYTEST_ARGS)

lint: setup-dev ## check style, types, the pipeline and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/lint-imports --no-logo

format: setup-dev ## rewrite the sources in the house style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/snakefmt Snakefile workflow

bench: setup ## measure training on this machine, and what reports take at REPORT_SIZES
	@$(BIN)/trainatlas bench
	@$(BIN)/trainatlas bench --levels --repeats 3
	@$(BIN)/python scripts/scale.py $(REPORT_SIZES)

scale: setup ## measure planning to report with made-up results (SCALE_SIZES="1000 10000 100000 1000000")
	@$(BIN)/python scripts/scale.py $(SCALE_SIZES)

calibration: setup ## measure on simulated studies how often intervals hold and tests err (a quarter of an hour of CPU time)
	@$(BIN)/python scripts/calibration.py

container: ## build containers/trainatlas.sif with Apptainer
	@command -v apptainer >/dev/null || { echo "make container: there is no apptainer; see docs/how-to/cluster.md" >&2; exit 2; }
	@apptainer build --fakeroot containers/trainatlas.sif containers/trainatlas.def

translations: setup-dev ## bring the catalogues of the report's languages up to date with what the report says
	@$(BIN)/python scripts/translations.py

schemas: setup ## write the pages made from code anew: schemas, data dictionary, catalogue
	@$(BIN)/trainatlas schema

# Keeps the versions of the present lock where pyproject.toml lets it; UPGRADE=--upgrade takes the newest ones.
lock: setup ## resolve requirements.lock anew from pyproject.toml (UPGRADE=--upgrade for newest versions)
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile pyproject.toml --extra dev \
		--constraints requirements-torch.lock --no-emit-package torch \
		--universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--annotation-style line --output-file requirements.lock --quiet $(UPGRADE)

clean: ## remove caches; results, reports and .venv stay
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find src tests workflow -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## remove all that was made here: results, reports and .venv too
	@rm -rf .venv .snakemake results
	@find reports -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} + 2>/dev/null || true
