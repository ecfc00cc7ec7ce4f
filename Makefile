# Riverrun. `make help` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := $(or $(shell command -v uv),.tools/bin/uv)

# Some images set it. TensorFlow and Feast are 3,000 modules, which each process would compile anew.
unexport PYTHONDONTWRITEBYTECODE

# What a command line says, else what the environment says.
FUZZ_SECONDS ?= 600
# One more than there are cores: tests of brokers and processes wait a good part of their time.
TEST_PROCESSES ?= $(shell expr $$(nproc) + 1)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}'

.PHONY: demo
demo: install ## Make a sample shop, train on it, serve it, and show a list change after three clicks
	$(BIN)/riverrun demo

.PHONY: test
test: install ## Everything the tests need, then every check and every test
	@# Servers are downloaded while the code is checked, which takes one core.
	$(MAKE) --no-print-directory --jobs=2 --output-sync servers check
	$(MAKE) --no-print-directory pytest

.PHONY: install
install: $(READY) ## Install uv if it is absent, then the locked environment into .venv

$(READY): requirements.lock pyproject.toml riverrun/__init__.py | $(UV)
	$(UV) venv --quiet --allow-existing --python '>=3.11,<3.13' $(VENV)
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

.tools/bin/uv:
	@# Debian's python3 comes without what `venv` needs.
	python3 -c 'import ensurepip' 2>/dev/null || infra/install-packages python3-venv
	python3 -m venv .tools
	.tools/bin/python -m pip install --quiet uv

# An absolute path means that uv was found: there is nothing to make.
/%/uv: ;

.PHONY: servers
servers: ## Install the real servers the tests run against (Redis, Kafka), where they are absent
	infra/install-test-servers

.PHONY: dev-servers
dev-servers: install ## Run a Kafka and a Redis for development until Ctrl-C, and print their URLs
	infra/dev-servers

.PHONY: check
check: install ## Formatting, lint, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

.PHONY: pytest
pytest: install ## Every test, warnings being errors, on every core; RIVERRUN_TEST_KAFKA and RIVERRUN_TEST_REDIS_URL name servers to use
	$(BIN)/pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: quick
quick: install ## The tests that neither train a model nor start servers
	$(BIN)/pytest -m 'not slow and not redis and not kafka and not realdata'

.PHONY: fuzz
fuzz: install ## Throw generated requests at the HTTP API for ten minutes
	RIVERRUN_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/pytest --timeout 5400 tests/serving/http -k fuzz

.PHONY: format
format: install ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lock
lock: | $(UV) ## Resolve the dependencies again into requirements.lock
	$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --group dev \
		--no-emit-index-url --upgrade pyproject.toml --output-file requirements.lock

.PHONY: clean
clean: ## Remove the environment, caches and the demo's shop
	rm -rf $(VENV) .tools .riverrun/demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
