# Two commands: `make lab` opens the notebooks, `make test` runs every check. `make report` writes the HTML reports.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
APT_PACKAGES := chromium fonts-dejavu-core prometheus redis-server

# No pop-up that asks whether to fetch news, no look-up of updates.
LAB_SETTINGS := {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}

# Containers run as root, which JupyterLab refuses unless it is told.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: lab test report check clean browser
.DELETE_ON_ERROR:

lab: $(VENV)/.lab
	$(BIN)/jupyter lab --ServerApp.root_dir=notebooks --ServerApp.ip=localhost --LabApp.news_url=None \
	  --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --KernelManager.transport=ipc $(AS_ROOT) $(LAB_OPTIONS)

test: $(VENV)/.dev browser check
	$(BIN)/python -m pytest $(TEST_OPTIONS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

report: $(VENV)/.lab
	$(BIN)/python -m workbench.export notebooks/*.ipynb --out reports

# The browser tests need Chromium, the tests of alert rules promtool, those of shared limits Redis; where apt is not usable they are skipped with that reason.
browser:
	@{ command -v chromium && command -v promtool && command -v redis-server; } >/dev/null || { command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] \
	  && apt-get update -qq && apt-get install -y -qq $(APT_PACKAGES) >/dev/null; } \
	  || echo "Chromium, promtool or redis-server is not installed and apt is not usable: their tests will be skipped."

# torch first: installed alone it takes the tested build, and nothing pulled in later replaces it.
$(VENV)/.lab: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.exit("Python 3.11, 3.12 or 3.13 is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	@mkdir -p $(VENV)/share/jupyter/lab/settings
	@echo '$(LAB_SETTINGS)' > $(VENV)/share/jupyter/lab/settings/overrides.json
	@touch $@

$(VENV)/.dev: $(VENV)/.lab
	$(PIP) --editable '.[dev,cluster]'
	@touch $@

clean:
	rm -rf $(VENV) build reports
