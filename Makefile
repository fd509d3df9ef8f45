# Every target makes its own set-up. "make" alone prints this help.
SHELL := /bin/sh
PYTHON := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Each of Ansible's processes loads the plugins: it should find them compiled.
unexport PYTHONDONTWRITEBYTECODE

# The slowest first; "make check-mypy" runs one of them.
CHECKS := check-ansible-lint check-pytest check-mypy check-lint-imports check-yamllint check-ruff

.PHONY: help demo test test-engine test-all test-attacks test-controller check $(CHECKS) bench lab-up lab-down lab-clean docs
.DEFAULT_GOAL := help
COMMA := ,

help:  ## Print this help
	@echo "dbops: operate databases with Ansible, and prove their backups by restoring them."
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

.venv/.stamp: pyproject.toml
	@lab/bootstrap.sh

demo: .venv/.stamp  ## Provision, fill, back up, destroy, restore and prove on this machine (ENGINES="postgresql …", else all)
	@$(PYTHON) -m demo $(subst $(COMMA), ,$(ENGINES))

test: .venv/.stamp  ## Every check, and every engine on real hosts; what it leaves out: make test-all
	@$(PYTHON) -m tests.run

test-engine: .venv/.stamp  ## Everything about one engine (ENGINE=redis), on the release that "make test" has not (RELEASE=…)
	@$(PYTHON) -m tests.run --engine $(or $(ENGINE),"") $(addprefix --release=,$(RELEASE))

test-all: .venv/.stamp  ## Everything about every engine, the attacks and the other controller: hours
	@$(PYTHON) -m tests.run --all

test-attacks: .venv/.stamp  ## Every attack that SECURITY.md tells of, on hosts of its own; "make test" leaves these out (ENGINES="postgresql …")
	@$(PYTHON) -m pytest $(or $(addprefix tests/attacks/,$(subst $(COMMA), ,$(ENGINES))),tests/attacks) -n $(or $(WORKERS),2) --dist loadscope -ra

test-controller: .venv/.stamp  ## A controller on Debian 13, with the newest ansible-core, on a host of its own
	@$(PYTHON) -m pytest tests/controller -ra

check: .venv/.stamp  ## Lint, types, unit and contract tests, side by side; no server needed
	@$(MAKE) --no-print-directory --keep-going --output-sync=target --jobs=$(or $(WORKERS),2) $(CHECKS)

check-ansible-lint: .venv/.stamp
	@ansible-lint --strict --offline

check-pytest: .venv/.stamp
	@$(PYTHON) -m pytest tests -m "unit or contract" -q -ra

check-mypy: .venv/.stamp
	@mypy

check-lint-imports: .venv/.stamp
	@lint-imports

check-yamllint: .venv/.stamp
	@yamllint --strict .

check-ruff: .venv/.stamp
	@ruff check .
	@ruff format --check .

bench: .venv/.stamp  ## Measure against the bare tools; writes benchmarks/results/
	@$(PYTHON) -m benchmarks

lab-up: .venv/.stamp  ## Make the lab's hosts (LAB=name, RELEASE=bookworm or trixie, ENGINES=postgresql,redis,mysql)
	@$(PYTHON) -m lab --name $(or $(LAB),demo) --release $(or $(RELEASE),bookworm) --engines $(or $(ENGINES),postgresql) up

lab-down:  ## Remove the lab's hosts; images and caches stay
	@python3 -m lab --name $(or $(LAB),demo) down

lab-clean:  ## Remove everything the lab ever made on this machine
	@python3 -m lab clean

docs: .venv/.stamp  ## Write the generated reference pages
	@$(PYTHON) -m dbops docs all
