# CI calls nothing but these. `make run` needs Python 3.10 to 3.13, make and curl; the rest is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check bench bench-environments corpus clean

run: .venv/installed
	$(BIN)/python tour.py

test: .venv/installed-dev
	$(BIN)/python -m pytest

check: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

# `make bench MEGABYTES=64 SERVING="--seconds 1 --rounds 1 --soak 20000"` is a short one.
MEGABYTES ?= 1024
# Needs wrk (Debian: apt-get install wrk). The servers of others are measured where bench-environments has put them.
bench: .venv/installed-dev results/frozen_model.pb
	$(BIN)/python benchmarks/freezing.py --megabytes $(MEGABYTES)
	$(BIN)/python benchmarks/inspecting.py
	$(BIN)/python benchmarks/bench_serving.py --write $(SERVING)

bench-environments: $(patsubst %,benchmarks/environments/%/installed,litserve bentoml mlserver)

# With uvicorn's faster loop and parser, which LitServe brings along and the others take where they find them. The pool
# of processes that MLServer 1.7 starts by default does not start with uvloop 0.22.
benchmarks/environments/litserve/installed: PACKAGES = 'litserve>=0.2.19,<0.3'
benchmarks/environments/bentoml/installed: PACKAGES = 'bentoml>=1.4.39,<1.5' 'uvicorn[standard]'
benchmarks/environments/mlserver/installed: PACKAGES = 'mlserver>=1.7.1,<1.8' 'uvicorn[standard]' 'uvloop<0.22'
benchmarks/environments/%/installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet $(PACKAGES) 'tensorflow>=2.21,<2.22'
	@touch $@

results/frozen_model.pb: .venv/installed
	$(BIN)/python checkpoint_save.py
	$(BIN)/python freezemodel_save.py

# `make corpus CORPUS=../shared/corpus` converts, proves and runs all real models in a folder.
corpus: .venv/installed-dev
	$(BIN)/python tests/corpus.py $(CORPUS)

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; (3, 10) <= sys.version_info[:2] <= (3, 13) or sys.exit("error: TensorFlow 2.21 needs Python 3.10 to 3.13; this is %d.%d; run `make PYTHON=python3.13 ...`" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.txt
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	@touch $@

clean:
	rm -rf .venv results mine benchmarks/environments
