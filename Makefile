# Everything here works in an empty clone with nothing but Python 3.11 or newer and make.

PYTHONS := $(or $(PYTHON),python3.11 python3.12 python3.13 python3)
BIN := .venv/bin
MADE := .venv/.made

.PHONY: env lint test test-system soak demo bench gpu-wheels

env: $(MADE)

$(MADE): pyproject.toml constraints.txt
	@for python in $(PYTHONS); do \
	  $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "PLCP needs Python 3.11 or newer with its venv module; tried: $(PYTHONS). Name one: make env PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	[ -x $(BIN)/python ] || { echo "making .venv with $$($$python --version)"; $$python -m venv .venv; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,peers,redis]'
	@touch $@

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: env
	$(BIN)/python -m pytest

DEBIAN := redis-server chromium

test-system: env
	@{ command -v redis-server && command -v chromium; } >/dev/null || { apt-get update && apt-get install --yes $(DEBIAN); } >/dev/null 2>&1 || \
	  echo "could not install $(DEBIAN) from Debian; tests that need Redis are left out, the one that needs Chromium fails" >&2
	$(BIN)/python -m pytest -m "system and not soak"

soak: env
	$(BIN)/python -m pytest -m soak

# make demo: a simulated shop, into demo/.   make demo DATA=path/to/online_retail_II.xlsx: the real one, into demo-<name>/.
demo: env
	$(BIN)/python jobs/demo.py --config jobs/demo.yaml $(if $(DATA),--data '$(DATA)')

# make bench NAME=simulator.oracles: a module of benchmarks/, with ARGS if it takes any; figures go to benchmarks/results/.
bench: env
	$(BIN)/python -m benchmarks.$(NAME) $(ARGS)

# make gpu-wheels: what benchmarks.gpu.model needs and a machine with torch and transformers lacks, for its Python, into build/gpu-wheels/.
# There: pip install --no-index --no-deps --target site build/gpu-wheels/*.whl && PYTHONPATH=.:site python3 -m benchmarks.gpu.model
GPU_PYTHON ?= 3.12
WHEELS := annotated-types hjson holidays polars polars-runtime-32 pydantic pydantic-core typing-inspection
gpu-wheels: env
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version $(GPU_PYTHON) \
	  --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
	  --constraint constraints.txt --dest build/gpu-wheels $(WHEELS)
	DS_BUILD_OPS=0 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	  --constraint constraints.txt --wheel-dir build/gpu-wheels deepspeed
