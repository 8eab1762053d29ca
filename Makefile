# make help lists the targets. Everything happens in .venv; another place: make VENV=/some/where test

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
LOCK = .ci/requirements.lock
DEMO = demo/wse2-demo
STMFAB ?= $(BIN)/stmfab
SLURM = STMFAB='$(STMFAB)' TASKS='$(TASKS)' JOBS='$(JOBS)' SBATCH='$(SBATCH)' stmfab/cluster/slurm.sh

unexport PYTHONDONTWRITEBYTECODE # tests start hundreds of processes: each would compile every module anew

.DEFAULT_GOAL := help
.PHONY: help install demo test check plates soak learn bench pair array resume status test-cluster

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /\1|/' | \
	  while IFS='|' read -r target words; do printf '  make %-12s %s\n' "$$target" "$$words"; done

install: $(VENV)/.tools  ## Build .venv with stmfab (editable) and all tools

# The tested versions first; where this Python has no build of one of them, whatever pyproject.toml allows.
$(VENV)/.program: pyproject.toml $(LOCK)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(LOCK) -e '.[xarray]' || \
	  $(BIN)/pip install --quiet --disable-pip-version-check -e '.[xarray]'
	touch $@

$(VENV)/.tools: $(VENV)/.program
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(LOCK) -e '.[dev]' || \
	  $(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(VENV)/.program  ## Make 256 samples, inspect them, draw a contact sheet: demo/
	mkdir -p demo
	$(BIN)/stmfab generate wse2-demo $(DEMO).zarr -n 256
	$(BIN)/stmfab inspect $(DEMO).zarr
	$(BIN)/stmfab inspect $(DEMO).zarr --gallery $(DEMO).png
	@echo "Now look at $(DEMO).png"

test: $(VENV)/.tools  ## Run all tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.tools  ## Hold the code against its style: format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

plates: $(VENV)/.tools  ## Draw one panel an effect of the microscope, one a defect, frames of surfaces: plates.png, defects.png, surfaces/
	$(BIN)/python -m tests.plates plates.png
	$(BIN)/python -m tests.defect_plates defects.png
	$(BIN)/python -m tests.surface_plates surfaces

soak: $(VENV)/.tools  ## Kill, interrupt and damage runs at random for MINUTES (5); every byte must come back
	$(BIN)/python -m tests.soak $(MINUTES)

learn: $(VENV)/.tools  ## Train a small U-Net on 2,000 samples: it must beat a blob detector (needs PyTorch)
	$(BIN)/python -m tests.learn

bench: $(VENV)/.tools  ## Measure: samples/s of one core, stage by stage and beside its floor, growth, memory, baselines
	$(BIN)/python -m tests.bench.stages
	$(BIN)/python -m tests.bench.scaling scaling.png
	$(BIN)/python -m tests.bench.naive
	$(BIN)/python -m tests.bench.memory
	$(BIN)/python -m tests.bench.microscope
	$(BIN)/python -m tests.bench.surfaces

pair: $(VENV)/.tools  ## A= B=: two commits, or settings as .,scan.pixels=64, by turns; see tests/bench/pair.py
	$(BIN)/python -m tests.bench.pair '$(A)' '$(B)' $(RECIPE)

array resume: $(VENV)/.program
	@$(SLURM) array '$(RECIPE)' '$(STORE)' $(if $(SAMPLES),-n $(SAMPLES))

array:  ## RECIPE= STORE= TASKS=n [JOBS=] [SAMPLES=] [SBATCH="..."]: make a store by a Slurm job array
resume:  ## With the same variables: submit what is missing, after any accident

status: $(VENV)/.program  ## STORE=: its Slurm jobs, and what of it is made
	@$(SLURM) status '$(STORE)'

test-cluster: $(VENV)/.tools  ## Start a real one-node Slurm (installed if need be) and kill things in it
	tests/cluster/install.sh
	PATH=$$PATH:/usr/sbin $(BIN)/python -m tests.cluster.checks
