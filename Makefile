# Two commands: `make demo` and `make test`. Everything they need they set up themselves, inside this folder.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
UV := build/uv/bin/uv
export PYTHONDONTWRITEBYTECODE :=
# Trust what the system trusts, also behind a company's own registry.
export UV_SYSTEM_CERTS ?= true

.PHONY: setup native console wheels protos requirements check test test-console test-crash soak test-soak test-asan test-neon test-torch fuzz demo bench clean

$(UV):
	deploy/setup/uv.sh build/uv

# The Python that the environment is made from: what SHOAL_PYTHON names, else the first that works.
build/dev.stamp: $(UV) deploy/requirements/dev.txt deploy/requirements/peers.txt
	deploy/setup/venv.sh $(UV) $(VENV) deploy/requirements/dev.txt
	$(UV) pip install --quiet --python $(PYTHON) --no-deps --require-hashes -r deploy/requirements/peers.txt
	touch $@ build/demo.stamp

build/demo.stamp: $(UV) deploy/requirements/demo.txt
	deploy/setup/venv.sh $(UV) $(VENV) deploy/requirements/demo.txt
	touch $@

NATIVE := $(shell find device_agent/engine/native device_agent/vm/native -type f 2>/dev/null) CMakeLists.txt pyproject.toml
build/native.stamp: build/demo.stamp $(NATIVE)
	$(UV) pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation -e .
	touch $@

native: build/native.stamp

setup: build/dev.stamp build/native.stamp

CONSOLE := cloud/console
CONSOLE_SOURCES := $(shell find $(CONSOLE)/src -type f 2>/dev/null) $(wildcard $(addprefix $(CONSOLE)/,package.json package-lock.json .npmrc tsconfig.json vite.config.ts index.html))
build/console.stamp: build/demo.stamp deploy/setup/console.sh $(CONSOLE_SOURCES)
	deploy/setup/console.sh $(VENV) $(CONSOLE)
	touch $@

console: build/console.stamp

# The console's own tests; types and lint are in `make check`.
test-console: build/demo.stamp
	deploy/setup/console.sh $(VENV) $(CONSOLE) test
# Both wheels: `shoal` has everything, `shoal-agent` what a device needs.
WHEELS := build/wheels
wheels: build/native.stamp console
	rm -rf $(WHEELS)
	$(UV) build --quiet --wheel --no-build-isolation --python $(PYTHON) -o $(WHEELS) .
	$(UV) build --quiet --wheel --no-build-isolation --python $(PYTHON) -o $(WHEELS) deploy/agent

# What devices speak; a change that they could not read stops here, before it is written down.
SCHEMA := tests/golden/wire/schema.txtpb
protos: build/dev.stamp
	$(BIN)/buf breaking --against $(SCHEMA)
	$(PYTHON) -m grpc_tools.protoc -I protos --python_out=protos --pyi_out=protos --grpc_python_out=protos protos/shoal/*/v1/*.proto
	$(BIN)/buf build --exclude-source-info -o $(SCHEMA)

requirements: $(UV)
	deploy/setup/requirements.sh $(UV)

clean:
	rm -rf build .venv demo $(CONSOLE)/dist $(CONSOLE)/node_modules

# --- what must hold ---------------------------------------------------------------------------------------------

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/buf lint
	deploy/setup/protos-current.sh $(PYTHON)
	deploy/setup/console.sh $(VENV) $(CONSOLE) check
	$(BIN)/lint-imports
	$(PYTHON) -m pytest tests/architecture tests/docs

# FAST=1 leaves out what needs a server, a browser or more than a moment: unit, property and parity tests only.
FAST ?=
FAST_SUITES := $(wildcard tests/architecture tests/unit tests/parity tests/golden)
SLOW_SUITES := $(wildcard tests/attacks tests/conformance tests/simulation tests/e2e tests/docs tests/soak)
# The quick ones come first: where one of them fails, nobody waits for the rest.
test: setup
ifeq ($(FAST),)
	deploy/setup/servers.sh
	$(MAKE) --no-print-directory console test-console
	$(PYTHON) -m pytest $(FAST_SUITES)
	SHOAL_SOAK_SECONDS=8 SHOAL_HOSTILE_SECONDS=10 $(PYTHON) -m pytest $(SLOW_SUITES)
	$(PYTHON) -m pytest --database=postgresql tests/unit tests/attacks
else
	$(PYTHON) -m pytest -m "not slow" $(FAST_SUITES)
endif

# The long form of the crash tests: 200 kills of cloud and agents at any moment, one at every failpoint, and kills of
# PostgreSQL and Redis; SHOAL_CRASH_SEED chooses others.
test-crash: setup
	deploy/setup/servers.sh
	SHOAL_CRASH_KILLS=200 SHOAL_CRASH_FAILPOINTS=all $(PYTHON) -m pytest tests/e2e/test_crashes.py \
	  tests/e2e/test_failpoint_kills.py tests/e2e/test_server_kills.py

# Five minutes of VMs that come and go under load; CI runs it after the tests.
soak: setup
	SHOAL_SOAK_SECONDS=300 $(PYTHON) -m pytest -rP tests/soak/test_soak.py

# The long forms of the soak: ten minutes of VMs that come and go, or as many VMs as SHOAL_SOAK_VMS says (10000), then
# every hostile program a hundred times.
test-soak: setup
	SHOAL_SOAK_SECONDS=$${SHOAL_SOAK_SECONDS:-600} SHOAL_HOSTILE_TIMES=$${SHOAL_HOSTILE_TIMES:-100} \
	  $(PYTHON) -m pytest -rP tests/soak

# Nightly: our native modules under AddressSanitizer and UndefinedBehaviorSanitizer.
ASAN := build/asan
$(ASAN)/stamp: build/dev.stamp deploy/setup/sanitized.sh $(NATIVE)
	deploy/setup/sanitized.sh $(UV) $(VENV) $(ASAN)
	touch $@

test-asan: $(ASAN)/stamp
	deploy/setup/under-sanitizers.sh $(ASAN)/venv/bin/python -m pytest \
	  tests/unit/vm tests/unit/engine tests/unit/train tests/parity tests/attacks/test_vm_escapes.py tests/attacks/test_vm_exhaustion.py \
	  --deselect tests/unit/vm/test_vm_model_memory.py \
	  --deselect tests/parity/test_plan_in_a_vm.py::test_planning_in_a_vm_keeps_to_its_budget  # figures, which redzones change
	SHOAL_SOAK_SECONDS=60 deploy/setup/under-sanitizers.sh $(ASAN)/venv/bin/python -m pytest tests/soak/test_soak.py

# Nightly: what reads files, ONNX, plans and requests, fuzzed by coverage; FUZZ_SECONDS a target.
FUZZ := build/fuzz
FUZZ_SECONDS ?= 120
fuzz: setup
	$(UV) pip install --quiet --python $(PYTHON) --target $(FUZZ)/packages --require-hashes -r deploy/requirements/fuzz.txt
	for target in model onnx plan request; do \
	  PYTHONPATH=$(FUZZ)/packages $(PYTHON) -m tests.fuzz.harness $$target $(FUZZ) $(FUZZ_SECONDS); done

# Nightly: torch as a backend of the engine, in an environment of its own (5 GB); on CUDA devices too where there are any.
TORCH := build/torch
test-torch: setup
	deploy/setup/torch.sh $(UV) $(VENV) $(TORCH)
	$(TORCH)/venv/bin/python -m pytest tests/torch

# Nightly: the kernels for 64-bit ARM, cross-compiled, against the portable ones under qemu.
test-neon:
	deploy/setup/neon.sh build/neon

# Ratios against named peers in one interleaved run; ONLY=name for one suite. Rows go to build/bench/<suite>.json.
ONLY ?=
bench: setup
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(PYTHON) -m tests.bench.run --only "$(ONLY)"

# The main job on this machine, embedded default: no server, no configuration. KEEP=1 leaves it running; DEMO names the
# folder that it makes anew.
KEEP ?=
DEMO ?= demo
demo: build/native.stamp console
	$(PYTHON) -m docs.examples.digits.demo $(if $(KEEP),--keep) $(DEMO)
