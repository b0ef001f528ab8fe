# Thin targets; what they call does the work. `make help` lists them.
# What is missing (Python packages, and as root on Debian or Ubuntu the servers) is
# installed by deploy/setup.sh; a second run costs nothing.

PYTHON := .venv/bin/python
STAMP := .venv/.installed
COVERAGE := .scratch/coverage
# Options for pytest, such as `make test PYTEST="-k guard"`.
PYTEST ?=
# Both begin with what needs real servers, and mostly wait for them; then they share the rest.
# More of them starve servers that tests give seconds to answer.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test lint fmt bench evals chaos schemas docs clean setup servers testing

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP) servers ## Heal five real incidents on this machine (KEEP=1 leaves it up)
	@.venv/bin/uici demo $(if $(KEEP),--keep)

# Tracing every line doubles the time that the tests take.
COVERED ?= $(CI)
COVER := --cov --cov-branch --cov-report=term-missing:skip-covered \
	--cov-report=xml:$(COVERAGE)/coverage.xml --cov-report=html:$(COVERAGE)/html \
	--cov-fail-under=90

# Tests start many Python processes: compiled modules are kept, whatever the environment says.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(STAMP) servers testing ## Run every test, real servers included; with COVERED=yes or CI set, what they cover
	@mkdir -p $(COVERAGE)
	$(PYTHON) -m pytest --numprocesses=$(WORKERS) --dist=loadscope $(if $(COVERED),$(COVER)) $(PYTEST)

lint: $(STAMP) ## Check style, types and the direction of imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

fmt: $(STAMP) ## Format the code and apply safe fixes
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: $(STAMP) servers ## Measure against the lower bounds; table and JSON
	$(PYTHON) -m tests.bench

# Options, such as `make evals EVALS="--planner runbook"` or `EVALS="--local qwen2.5-coder-1.5b"`.
EVALS ?=
evals: $(STAMP) ## Score the planners on the incidents: runbooks, and a real local model
	$(PYTHON) -m tests.evals --save $(EVALS)

# Options, such as `make chaos CHAOS="--faults 20 --seed 7"` or `CHAOS=--soak`; see docs/CHAOS.md.
CHAOS ?=
chaos: $(STAMP) servers ## Break a real stack in many ways and judge what the agent makes of it
	@$(PYTHON) -m tests.chaos $(CHAOS)

schemas: $(STAMP) ## Generate the JSON Schemas from the configuration models
	$(PYTHON) -m infrastructure.json_schemas

# Pages under docs/reference are generated and committed; the site lies in .scratch/site/html.
docs: $(STAMP) ## Write the reference from the models, and build the documentation's site
	$(PYTHON) -m tests.reference
	.venv/bin/sphinx-build --quiet --fail-on-warning --keep-going --nitpicky --fresh-env -c docs \
		--doctree-dir .scratch/site/trees . .scratch/site/html
	@echo "docs: .scratch/site/html/index.html"

setup: $(STAMP) servers ## Only install what is missing

clean: ## Remove what the tools left behind, and .venv
	rm -rf .venv .scratch .pytest_cache .mypy_cache .ruff_cache .import_linter_cache \
		.hypothesis .coverage .coverage.* htmlcov dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock and the project's own metadata decide what .venv holds.
$(STAMP): requirements-dev.lock pyproject.toml
	@deploy/setup.sh python

servers:
	@deploy/setup.sh servers

# No part of the product: where it can't be had, the tests of the pages are skipped.
testing:
	@deploy/setup.sh testing
