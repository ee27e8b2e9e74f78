# The console's commands. `make run` and `make test` do everything on a fresh machine, set-up included.
#
#   make run      the console on this machine: no Slurm, no root, nothing to configure
#   make test     every check and test; as root (or with sudo) on a real Slurm cluster it installs and starts
#   make demo     a real Slurm cluster with people and GPUs, and the console on it (root or sudo)
#   make demo-code NAME=ada   the current one-time code of one of the demo's people
#   make test-next   gate, sign-in, pages and the main job on the next release of Panel: needs a Python >= 3.12
#                 (PYTHON_NEXT=…) and Chromium; its packages are in .venv-next
#   make bench    the figures, one JSON line each (ONLY=name runs a part)
#   make install  only the environment, in .venv, with the command .venv/bin/carme
#   make lint     ruff, types, and the arrows between the rooms
#   make lock     resolve the pinned dependencies anew
#   make clean    remove what `make install` made

SHELL := /bin/bash
.DELETE_ON_ERROR:
PYTHON ?= $(shell assets/find-python.sh)
PYTHON_NEXT ?= $(shell assets/find-python.sh 3.12)
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip --quiet
ARGS ?=
ONLY ?=


.PHONY: run test test-next demo demo-code bench install lint lock clean

run: install
	@.venv/bin/carme serve $(ARGS)

install: .venv/installed .venv-apps/installed

test: .venv/installed-dev .venv-apps/installed
	@tests/run.sh $(ARGS)

# Unit and browser tests in a process each: Chromium's driver and asynchronous tests can't share one.
NEXT_PYTEST := PYTHONPATH=$(CURDIR) .venv-next/bin/python -m pytest -n 2 --dist loadfile
test-next: .venv-next/installed .venv-apps/installed
	@failed=0; \
	$(NEXT_PYTEST) tests/unit/test_gate_*.py tests/unit/test_signin_*.py tests/unit/test_pages_*.py \
		tests/unit/test_live.py || failed=1; \
	$(NEXT_PYTEST) tests/browser/test_signin.py tests/browser/test_embedded_journey.py || failed=1; \
	exit $$failed

demo: .venv/installed-dev .venv-apps/installed
	@tests/as-root.sh .venv/bin/python -m tests.harness packages
	@tests/as-root.sh .venv/bin/python -m tests.harness.demo $(ARGS)

demo-code:
	@tests/as-root.sh .venv/bin/python -m tests.harness.demo code $(NAME)

bench: .venv/installed-dev .venv-apps/installed
	@tests/as-root.sh .venv/bin/python -m tests.bench $(if $(ONLY),--only $(ONLY)) $(ARGS)

lint: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

.venv/installed: requirements.lock pyproject.toml
	@assets/make-venv.sh "$(PYTHON)" .venv
	@echo "installing the console's packages (about a minute) ..."
	@$(PIP) install -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.lock
	@$(PIP) install -r requirements-dev.lock
	@touch $@

# The console itself is not installed there: it asks for the pinned Panel.
.venv-next/installed: requirements-next.lock
	@assets/make-venv.sh "$(PYTHON_NEXT)" .venv-next
	@echo "installing the next Panel's packages (about a minute) ..."
	@PIP_DISABLE_PIP_VERSION_CHECK=1 .venv-next/bin/python -m pip --quiet install -r requirements-next.lock
	@touch $@

# JupyterLab has an environment of its own, so that what a notebook installs can't break the console.
.venv-apps/installed: requirements-apps.lock
	@assets/make-venv.sh "$(PYTHON)" .venv-apps
	@echo "installing JupyterLab for the sessions of this machine ..."
	@PIP_DISABLE_PIP_VERSION_CHECK=1 .venv-apps/bin/python -m pip --quiet install -r requirements-apps.lock
	@touch $@

UV ?= uv
UV_FLAGS := --universal --quiet --no-header --no-annotate --no-emit-index-url --no-emit-find-links
UV_COMPILE = $(UV) pip compile --python-version 3.11 $(UV_FLAGS)
lock:
	$(UV_COMPILE) pyproject.toml -o requirements.lock
	$(UV_COMPILE) --extra dev pyproject.toml -o requirements-dev.lock
	printf 'jupyterlab>=4.4\nipykernel>=6.29\n' | $(UV_COMPILE) - -o requirements-apps.lock
	$(UV) pip compile --python-version 3.12 $(UV_FLAGS) --extra dev pyproject.toml -o requirements-next.lock \
		--override <(printf 'panel>=1.10,<1.11\nbokeh>=3.10,<3.11\n')

clean:
	rm -rf .venv .venv-apps .venv-next *.egg-info
