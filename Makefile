# One command each. `make demo` and `make test` need Python 3.11-3.13 and a package index, nothing else.
# On Linux the index's PyTorch is the CUDA build; `make demo TORCH=cpu` takes the CPU build from PyTorch's own index.
VENV ?= .venv
export TORCH ?=
PY = $(VENV)/bin/python
# what needs tools from elsewhere, and trainings in processes of their own
OUTSIDE = browser or strace or openssl or real_model or peers or processes
PYTEST = $(PY) -m pytest
JOBS ?= 2
# whole files to each job, in the order of tests/conftest.py: what a file trains once, it trains once
# one thread a job, or they wait for each other
IN_JOBS = OMP_NUM_THREADS=1 $(PYTEST) -n $(JOBS) --dist loadfile --no-loadscope-reorder

# the tests that need only Python and the package index, in the time that everybody has
ANYWHERE = -m "not ($(OUTSIDE)) and not full and not gpu"
# what `make quick` compares with
BASE ?= main

# the first process that imports a file keeps what it compiled for the hundreds after it, whatever the caller's environment says
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-governance quick test test-all full bench gpu check types style contracts pages docs ui fix help

help:
	@grep -E '^## ' Makefile | sed 's/^## //'

## demo      a model trained, asked, verified, merged and documented, from nothing, under demo/
demo:
	@sh .ci/install "$(VENV)" demo
	@$(VENV)/bin/registry demo

## demo-governance  and decided upon, approved by two people, promoted and recalled
demo-governance:
	@sh .ci/install "$(VENV)" demo
	@$(VENV)/bin/registry demo --governance

## quick     check, then unit and contract tests of the rooms that differ from BASE (main); about a minute
quick: check
	@set -e; tests=$$($(PY) -m tests.quick "$(BASE)"); \
	if [ -n "$$tests" ]; then $(IN_JOBS) $(ANYWHERE) $$tests; fi

## test      every test that needs only Python and the package index, but for those that train in processes of their own
test:
	@sh .ci/install "$(VENV)" test
	$(IN_JOBS) $(ANYWHERE)

## test-all  and those, and what needs chromium, strace, openssl, the real model and the peers
test-all: test
	@sh .ci/install "$(VENV)" peers
	$(IN_JOBS) -m "($(OUTSIDE)) and not full and not gpu"

## full      and the oracles, whole fault matrices, other examples of each law, and benches; its folders are larger than memory should hold
full: test-all
	@sh .ci/install "$(VENV)" full
	TMPDIR=$${TMPDIR:-/tmp} $(PYTEST) -m "full and not gpu"
	$(PYTEST) --hypothesis-profile search -m "hypothesis and not full"
	$(MAKE) bench

## bench     ratios against the peers, in one run
bench:
	@sh .ci/install "$(VENV)" peers
	$(PY) -m tests.bench

## gpu       what only a GPU can show: the tests that need one, and a page of figures (gpu-figures.md)
gpu:
	@sh .ci/install "$(VENV)" test
	$(PYTEST) -m gpu
	$(PY) -m tests.bench.gpu --page gpu-figures.md

## check     format, lint, types, import contracts, generated docs
check:
	@sh .ci/install "$(VENV)" check
	@$(MAKE) --no-print-directory -j 2 types style contracts pages

# two at a time, because to check the types takes longer than all else
types:
	$(VENV)/bin/mypy

style:
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

contracts:
	$(VENV)/bin/lint-imports

pages:
	$(PY) -m docs.generate --check

## fix       format, and what the linter can mend
fix:
	@sh .ci/install "$(VENV)" check
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

## docs      write the generated pages of docs/reference
docs:
	@sh .ci/install "$(VENV)" demo
	$(PY) -m docs.generate

## ui        browse the demo's registry in MLflow
ui:
	@sh .ci/install "$(VENV)" demo
	$(VENV)/bin/registry ui --home demo/.registry
