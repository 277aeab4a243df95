# make app    open MAML Sketchpad on http://127.0.0.1:7860
# make test-fast   the tests that start no process and no browser
# make test   lint, types and all tests but the slow ones
# make test-all   the slow ones too: wheels, torchrun, the notebooks executed, kills, a soak in small
# make test-pythons   make test on Python 3.11, 3.12 and 3.13, each in an environment of its own
# make space-check   serve it as a Space does, in a new environment, and draw and train there
# Another interpreter: make app PYTHON=python3.13     Another folder: make app VENV=/somewhere/venv

PYTHON ?= python3
VENV ?= .venv
PYTHONS ?= 3.11 3.12 3.13
# Which tests, in the words of `pytest -m`; tests/kinds.py says what the kinds are.
KINDS ?= not slow

# Without bytecode every worker would rewrite the assertions of every test file in every run.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
JS_TESTS := $(wildcard tests/js/*.test.js tests/js/*.test.mjs)

.PHONY: help app test test-fast test-all test-pythons space-check install-test chromium lint types \
    test-js test-py clean

help:
	@sed -n '1,/^$$/s/^# //p' Makefile

app: $(VENV)/.app-installed
	$(BIN)/python app.py

test: install-test lint types test-js test-py

test-fast: KINDS := fast
test-fast: $(VENV)/.test-installed test-py

test-all: KINDS :=
test-all: test

test-pythons:
	for version in $(PYTHONS); do \
	    $(MAKE) test PYTHON=python$$version VENV=$(VENV)-$$version || exit 1; \
	done

install-test: $(VENV)/.test-installed chromium

# The stamp carries the interpreter's version: another PYTHON makes the environment anew.
$(VENV)/.python-$(VERSION):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "MAML Sketchpad needs Python 3.11 to 3.13; '$(PYTHON)' is $(or $(VERSION),not there)." \
	         "Name another one: make $(or $(MAKECMDGOALS),app) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.app-installed: requirements.txt $(VENV)/.python-$(VERSION)
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.test-installed: requirements-dev.txt $(VENV)/.app-installed
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# The system's Chromium if it is there or may be installed, else the one that Playwright fetches.
# The loop runs each candidate: some distributions ship a `chromium` that only asks for a snap.
chromium: $(VENV)/.test-installed
	@found() { for name in chromium-headless-shell chromium chromium-browser google-chrome; do \
	    $$name --version >/dev/null 2>&1 && return 0; done; return 1; }; \
	if found; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q; \
	    for name in chromium-headless-shell chromium; do \
	        DEBIAN_FRONTEND=noninteractive apt-get install -y -q $$name && break; done; \
	    if found; then exit 0; fi; \
	    $(BIN)/python -m playwright install --with-deps chromium && exit 0; \
	else \
	    $(BIN)/python -m playwright install chromium && exit 0; \
	fi; \
	echo "No Chromium could be installed: the browser tests will be skipped." \
	     "Install Chromium or Chrome, then run make test again." >&2

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

test-js:
ifeq ($(JS_TESTS),)
	@echo "No JavaScript tests found."
else
	@if command -v node >/dev/null; then node --test $(JS_TESTS); \
	else echo "Node.js is not there: the JavaScript tests are left out." >&2; fi
endif

# Three at a time: browser tests mostly wait.  A file's tests stay together, since they share an app.
# One thread each: the workers' threads would only wait for each other.
test-py:
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=passive \
	    $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=30 \
	    -m "$(KINDS)"

space-check: install-test
	$(BIN)/python -m benchmarks.space_check --python $(PYTHON)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
