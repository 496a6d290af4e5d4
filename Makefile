# Two commands: `make lab` opens the notebooks, `make test` runs every check. `make quick` runs what needs no server and no browser,
# `make report` writes the HTML reports, `make bench` prints the figures of performance that no test asserts.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
APT_PACKAGES := chromium fonts-dejavu-core prometheus redis-server
WORKERS ?= 3
EVERYTHING := '.[dev,cluster]'
PYTEST := env -u WORKBENCH_LANG $(BIN)/python -m pytest
PARALLEL := --numprocesses $(WORKERS) --dist loadfile

# Containers often forbid bytecode: then every process compiles each module that it imports anew, torch and transformers in 15 s.
export PYTHONDONTWRITEBYTECODE :=

# No pop-up that asks whether to fetch news, no look-up of updates.
LAB_SETTINGS := {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}

# Runs a command and, at the same time, the checks, whose output is shown where one of them fails.
define beside_checks
mkdir -p build; $(MAKE) --no-print-directory check >build/check.log 2>&1 & checks=$$!; \
$(1); status=$$?; wait $$checks || { cat build/check.log; status=1; }; exit $$status
endef

# uv takes a tenth of pip's time; pip knows the indexes of its own configuration, so it installs where uv reaches none.
define installed
$(UV) --editable $(1) || $(PIP) --no-compile --editable $(1)
endef

.PHONY: lab test quick bench report check clean browser ready
.DELETE_ON_ERROR:

lab: $(VENV)/.lab
	$(BIN)/workbench lab -- $(LAB_OPTIONS)

# The tests of an engine wait for its installation.
test: ready
	@mkdir -p build
	@$(BIN)/workbench engines install vllm >build/engines.log 2>&1 && $(BIN)/workbench engines install llmcompressor >>build/engines.log 2>&1 &
	@$(call beside_checks,$(PYTEST) $(PARALLEL) $(TEST_OPTIONS))

# Debian's packages are unpacked while Python's are.
ready:
	@$(MAKE) --no-print-directory --jobs 2 browser $(VENV)/.dev

quick: $(VENV)/.dev
	@$(call beside_checks,$(PYTEST) $(PARALLEL) -m "not slow and not browser and not gpu" $(TEST_OPTIONS))

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

report: $(VENV)/.lab
	$(BIN)/workbench export notebooks/*.ipynb --out reports

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/machine.py

# The browser tests need Chromium, the tests of alert rules promtool, those of shared limits Redis; where apt is not usable they are skipped with that reason.
browser:
	@{ command -v chromium && command -v promtool && command -v redis-server; } >/dev/null || { command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] \
	  && apt-get update -qq && apt-get install -y -qq $(APT_PACKAGES) >/dev/null; } \
	  || echo "Chromium, promtool or redis-server is not installed and apt is not usable: their tests will be skipped."

# torch first, by pip: installed alone it takes the tested build, and nothing pulled in later replaces it.
# Nothing is compiled that is not imported; what most processes import is imported once.
$(VENV)/.lab: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.exit("Python 3.11, 3.12 or 3.13 is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-compile torch uv
	$(call installed,.)
	@$(BIN)/python -W ignore -m workbench.compress.preload
	@mkdir -p $(VENV)/share/jupyter/lab/settings
	@echo '$(LAB_SETTINGS)' > $(VENV)/share/jupyter/lab/settings/overrides.json
	@touch $@

$(VENV)/.dev: $(VENV)/.lab
	$(call installed,$(EVERYTHING))
	@$(PYTEST) --collect-only --quiet >/dev/null || true  # compiles once what each worker would compile
	@touch $@

clean:
	rm -rf $(VENV) build reports
