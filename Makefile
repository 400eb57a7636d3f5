# Two commands matter, and each sets up what it needs:
#   make demo                      a real job on a real queue; FILE=some.txt and URL=scheme://... change what and where
#   make test                      everything that .ci/run runs
# `make check` is what to run before every commit. The rest are parts of them, and `make docs`, which writes the
# generated tables again.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export FILE ?= README.md
export URL ?=
BACKEND ?= beanstalkd
ARGS ?=
SECONDS ?= 600
ONLY ?= integration
PYTHON ?= $(shell .ci/find-python)
BIN := .venv/bin

# Before a command that needs servers: an engine, their images, and no excuse where one is missing.
SERVERS := UNIMQ_INTEGRATION=require .ci/engine .ci/images

# The tests of `make check`, which runs those of them that are not marked slow.
QUICK := tests/unit tests/memory tests/simulated tests/cli tests/sqlite tests/conformance/test_memory.py \
         tests/beanstalkd tests/activemq tests/gearman tests/memcacheq tests/zeromq tests/remote tests/worker \
         tests/telemetry \
         tests/testing/test_parity.py tests/rules/test_layout.py tests/rules/test_docs.py tests/rules/test_import.py
# What another version of Python can break: the tests of `make other-pythons`.
PORTABLE := -m "not slow" $(QUICK) tests/conformance/test_sqlite.py

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: .venv/.runtime ## Count the words of FILE on URL with two consumers, and kill one of them
	@$(BIN)/python docs/examples/wordcount.py "$$FILE" $${URL:+--url "$$URL"}

check: lint imports types ## Before every commit: style, imports, types, and the tests that wait for little
	$(BIN)/python -m pytest --quiet --numprocesses 6 -m "not slow" --hypothesis-profile quick $(QUICK)
	@echo "left out, and part of make test: other Pythons, packages, coverage, real servers, the tests that start" \
		"processes or wait (marked slow), and those not in: $(QUICK)"

test: lint types imports package other-pythons whole ## Everything, with the summary of the tests as the last line

everything: PORTABLE := tests
everything: test ## The same with all tests on every Python, for a release

# The environments. Both are made again when pyproject.toml changes.

.venv/.runtime: pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer with venv is needed: apt-get install python3-venv" >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[cli]"
	@touch $@

.venv/.dev: .venv/.runtime
	$(BIN)/python -m pip install --quiet --editable ".[all]" --group dev
	@touch $@

install: .venv/.dev ## Set up .venv for development

lint: .venv/.dev ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.dev ## Put the code into shape
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

types: .venv/.dev ## Types, by two checkers
	$(BIN)/mypy
	$(BIN)/mypy tests/typing docs/examples integration/harness
	$(BIN)/mypy $(addprefix --module bench.,activemq beanstalkd gearmand handlers memcacheq zeromq)
	$(BIN)/pyright --pythonpath $(BIN)/python

imports: .venv/.dev ## Who may import whom
	$(BIN)/lint-imports

unit: .venv/.dev ## The tests that need no server
	$(BIN)/python -m pytest --numprocesses 4

integration: .venv/.dev ## The tests on real servers, which are started in containers
	$(SERVERS) $(BIN)/python -m pytest --numprocesses 3 --timeout 180 integration

history: .venv/.dev ## Look for lost messages while servers break, for SECONDS each; ONLY=beanstalkd chooses a backend
	UNIMQ_HISTORY_SECONDS=$(SECONDS) $(SERVERS) $(BIN)/python -m pytest --timeout $$(($(SECONDS) + 300)) \
		integration -k "test_history and ($(ONLY))"

bench: .venv/.dev ## Compare with the bare library on a server that is started: BACKEND=beanstalkd; ARGS='--help' tells more
	PYTHONPATH=integration $(SERVERS) $(BIN)/python -m bench.$(BACKEND) $(ARGS)

# Both together, with their coverage: an adapter is covered by what its server makes it do.
whole: .venv/.dev
	$(SERVERS) .ci/tests

other-pythons: .venv/.dev ## The tests that another version can break, on the other Pythons of this machine
	.ci/other-pythons $(PORTABLE)

# The wheel is built from the sdist, and proved where the sources are not on the path.
package: .venv/.dev ## Build, and try what was built
	rm -rf build/package
	$(BIN)/python -m build --outdir build/package .
	$(BIN)/twine check --strict build/package/*
	"$(PYTHON)" -m venv build/package/venv
	build/package/venv/bin/python -m pip install --quiet build/package/*.whl
	build/package/venv/bin/python -I tests/rules/smoke.py
	! build/package/venv/bin/unimq --help
	build/package/venv/bin/python -m pip install --quiet "$$(ls build/package/*.whl)[cli]"
	build/package/venv/bin/unimq --help

mutants: .venv/.dev ## How many small changes of the core the quick tests notice, on a sample: an hour at most
	.ci/mutants

docs: .venv/.dev ## Write the generated parts of the documentation again
	$(BIN)/python docs/generate.py

clean: ## Remove what was made here
	rm -rf .venv .venv-* build mutants .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help demo check test everything install lint format types imports unit integration history whole other-pythons package mutants docs clean
