# make demo    set everything up, show the arm doing what it is told       INSTRUCTION="..." HEAD=flow
# make test    set everything up, run all tests                            TESTS="test/ros -k say"
# make check   lint, and the tests that need no ROS
# make mutants do the tests notice faults in the guard? half an hour
# make fuzz    property tests with random examples                        ROUNDS=20
# make setup   only the set-up            make clean   forget build, install and log
SHELL := /bin/bash
PYTHON ?= python3
export INSTRUCTION ?=
HEAD ?=
TESTS ?= test
ROUNDS ?= 20

.PHONY: demo test check fuzz mutants setup clean
setup:
	@$(PYTHON) tools/bootstrap.py

demo: setup
	@. tools/env.sh && exec vla demo $(if $(HEAD),--head $(HEAD)) $${INSTRUCTION:+-- "$$INSTRUCTION"}

test: setup
	@. tools/env.sh && exec pytest $(TESTS)

check:
	@$(PYTHON) tools/bootstrap.py --no-ros
	@. tools/env.sh 2>/dev/null; export PYTHONPATH="$${PYTHONPATH:-$$PWD}"; ruff check . && ruff format --check --quiet . && exec pytest test --ignore=test/ros

mutants: setup
	@. tools/env.sh && exec python benchmarks/mutation.py --out benchmarks/mutation.json

fuzz: setup
	@. tools/env.sh && for round in $$(seq $(ROUNDS)); do \
	  seed=$$RANDOM$$RANDOM; echo "round $$round of $(ROUNDS): --hypothesis-seed=$$seed"; \
	  HYPOTHESIS_PROFILE=fuzz pytest test --ignore=test/ros -m hypothesis --hypothesis-seed=$$seed || exit 1; done

clean:
	rm -rf build install log
