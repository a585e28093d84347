PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?= -n 2 --dist loadfile
THREADS ?= $(shell nproc 2>/dev/null || echo 2)
LAUNCH ?= --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
	--num_cpu_threads_per_process $(THREADS)

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help env demo test quality clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*  ## /  make \1\t/p' $(MAKEFILE_LIST)

env: $(STAMP)  ## create .venv with the tested versions

demo: $(STAMP)  ## train and evaluate four small models on generated images
	$(BIN)/accelerate launch $(LAUNCH) recipes/vlcs.py --config recipes/demo.yaml

test: $(STAMP)  ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

quality: $(STAMP)  ## lint, formatting, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:  ## remove caches and build outputs
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find egat_hub recipes tests -type d -name __pycache__ -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
		echo "egat_hub needs Python 3.10 or newer with its venv module, and $(PYTHON) is not that."; \
		echo "Name another one: make PYTHON=python3.12 ... (Debian and Ubuntu: apt install python3-venv)"; \
		exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	@touch $@
