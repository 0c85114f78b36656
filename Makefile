# CI calls nothing but these. `make run` needs Python 3.10 to 3.13, make and curl; the rest is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check bench corpus clean

run: .venv/installed
	$(BIN)/python tour.py

test: .venv/installed-dev
	$(BIN)/python -m pytest

check: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/installed-dev
	$(BIN)/python benchmarks/freezing.py

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
	rm -rf .venv results mine
