# Two commands on a fresh machine do everything: `make demo` and `make test`.
# Both build what they need from python3, pip and the hashed lock files.

PYTHON ?= python3
VENV := .venv
ANCHOR_VENV := .venv-anchor
BIN := $(VENV)/bin
JOBS ?= auto

.PHONY: demo test check bench sim localnet run format lock clean anchor
.DEFAULT_GOAL := help

help:
	@echo "make demo      the main road, end to end, on an embedded Solana and an embedded database"
	@echo "make test      checks, every test, and the older anchorpy pair in an environment of its own"
	@echo "make check     format, lint, types, import rules"
	@echo "make bench     figures, each a ratio to a named alternative in the same run"
	@echo "make sim       the long randomized simulation (SEED=, STEPS=)"
	@echo "make localnet  an embedded Solana for wallets on 127.0.0.1:8899 / 8900"
	@echo "make run       the daemon (CONFIG=makewhole.toml)"

$(VENV)/.ready: requirements.lock pyproject.toml
	@echo "setting up $(VENV) (once, from requirements.lock)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(ANCHOR_VENV)/.ready: requirements-anchor.lock pyproject.toml
	@echo "setting up $(ANCHOR_VENV) (once, the older pair that anchorpy needs)"
	@$(PYTHON) -m venv $(ANCHOR_VENV)
	@$(ANCHOR_VENV)/bin/python -m pip install --quiet --require-hashes -r requirements-anchor.lock
	@touch $@

demo: $(VENV)/.ready
	@$(BIN)/makewhole demo

test: check anchor
	@$(BIN)/python -m pytest -n $(JOBS) tests

anchor: $(ANCHOR_VENV)/.ready

check: $(VENV)/.ready
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(VENV)/.ready
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.ready
	@$(BIN)/python -m bench

sim: $(VENV)/.ready
	@$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED)) $(if $(STEPS),--steps $(STEPS))

localnet: $(VENV)/.ready
	@$(BIN)/makewhole localnet

run: $(VENV)/.ready
	@$(BIN)/makewhole run --config $(or $(CONFIG),makewhole.toml)

# Needs `uv` on PATH (a maintainer's tool, not a user's). No registry address is ever written.
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements.lock
	uv pip compile pyproject.toml --extra anchor --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements-anchor.lock

clean:
	rm -rf $(VENV) $(ANCHOR_VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
