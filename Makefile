# On a fresh machine with Python, make and a C++ compiler: `make demo`, `make test`, `make check`; with clang `make fuzz`.

PYTHON ?= python3
BIN := .venv/bin
FUZZ := $(wildcard core/fuzz/*.hpp core/fuzz/*.cpp core/cross/*.c core/cross/*.cpp)
CORE := $(filter-out $(FUZZ),$(shell find core -name '*.hpp' -o -name '*.cpp')) $(shell find device -name '*.[ch]')
FOR_C := $(wildcard include/*.h capi/*.hpp capi/*.cpp tests/capi/*.c examples/c/*.c browser/wasm/*.[ch])

# how long `make fuzz` runs each target
SECONDS ?= 60

# a program: the packages of the lock file are not there for older Pythons
define NEW_ENOUGH
import sys
if sys.version_info < (3, 11):
    sys.exit("Python 3.11 or newer is needed; %s is %s. Name another one: make clean, then make PYTHON=python3.12 ..."
             % (sys.executable, sys.version.split()[0]))
endef
export NEW_ENOUGH

.PHONY: demo test check format fuzz gpu-check aarch64 c-interface c-interface-tools golden benchmarks device device-tools browser browser-benchmarks browser-tools clean

demo: .venv/installed
	@echo "Trains and compresses LeNet-300-100 on the CPU, in about 5 minutes on two cores."
	$(BIN)/python -m reproduce lenet-300-100 --out build/demo

test: .venv/installed
	$(BIN)/python -m pytest --numprocesses auto

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CORE) $(FUZZ) $(FOR_C)
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S . -B build/strict -G Ninja -DDCZ_STRICT=ON -DDCZ_C_INTERFACE=ON -DDCZ_PYTHON=ON -DCMAKE_BUILD_TYPE=None \
	  -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -Dnanobind_DIR=$$($(BIN)/python -m nanobind --cmake_dir) > build/strict.log || (cat build/strict.log; exit 1)
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build build/strict

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CORE) $(FUZZ) $(FOR_C)

# The kernels for GPUs, without a GPU: run in Triton's interpreter, and compiled; `make gpu-check SHORT=1` runs the
# fewest cases, in less than a minute.
GPU_TESTS := $(BIN)/python -m pytest -q tests/gpu $(if $(SHORT),-m 'not long')
gpu-check: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/gpu/requirements.txt
	TRITON_INTERPRET=1 $(GPU_TESTS)
	TRITON_INTERPRET=0 TRITON_CACHE_DIR=build/triton $(GPU_TESTS)

# The core for 64-bit ARM, emulated, must write the same bytes as here. Needs g++-aarch64-linux-gnu and qemu-user.
aarch64:
	core/cross/run

# The library for C (docs/c-interface.md), linked in every way and run on every golden file; its tools are packages.
c-interface:
	capi/run

c-interface-tools:
	capi/run tools

# Decoders, encoders and kernels under ASan and UBSan, and mutated files; `make fuzz SECONDS=3600` for a night.
fuzz: .venv/installed
	core/fuzz/run $(SECONDS)
	device/fuzz/run $(SECONDS)

# Rewrites the golden files: only when the format changes on purpose.
golden: .venv/installed
	$(BIN)/python -m pytest tests/file/test_golden.py tests/delta/test_golden_patches.py --write-golden

# Sizes beside other coders, speeds beside other libraries, and the pages of results. Downloads packages, and takes an
# hour and a half the first time.
benchmarks: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	missed=0; for each in file_size speed.decode speed.read speed.small layers layers.convolutions layers.models speed.big_checkpoint real_models; do env -u OPENBLAS_CORETYPE $(BIN)/python -m benchmarks.$$each || missed=1; done; \
	  $(BIN)/python -m benchmarks.page && exit $$missed

# Layers, networks and updates on emulated boards: instructions, flash, memory, and the page of results.
device: .venv/installed
	missed=0; $(BIN)/python -m benchmarks.device || missed=1; $(BIN)/python -m benchmarks.device.updates || missed=1; $(BIN)/python -m benchmarks.page && exit $$missed

# The compilers and emulators that `make device` needs, from Debian or Ubuntu, if one is missing.
BOARD_TOOLS := arm-none-eabi-gcc qemu-system-arm riscv64-unknown-elf-gcc qemu-system-riscv32
BOARD_PACKAGES := gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm \
  gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-misc
device-tools:
	for each in $(BOARD_TOOLS); do command -v $$each > /dev/null || missing=1; done; \
	  test -z "$$missing" || (apt-get update && apt-get install -y --no-install-recommends $(BOARD_PACKAGES))

# The npm package (docs/browser.md), built, and tested in Node, Deno and Chromium; `make browser SHORT=1` takes a minute.
browser: .venv/installed
	SHORT=$(SHORT) browser/run

# Speeds and bytes of the npm package, after `make browser-tools browser`, and the pages of results.
browser-benchmarks: .venv/installed
	missed=0; for each in decode compute gpu; do $(BIN)/python -m benchmarks.browser.$$each || missed=1; done; \
	  node browser/benchmarks/bytes.mjs || missed=1; $(BIN)/python -m benchmarks.page && exit $$missed

browser-tools: .venv/installed
	SHORT=$(SHORT) browser/run tools

.venv/installed: requirements.lock pyproject.toml CMakeLists.txt $(CORE)
	@$$(test -x $(BIN)/python && echo $(BIN)/python || echo $(PYTHON)) -c "$$NEW_ENOUGH"
	@echo "Installs the packages of requirements.lock into .venv and builds the core: some minutes, the first time alone."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	mkdir -p build
	touch $@

clean:
	rm -rf .venv build dist browser/dist browser/LICENSE browser/src/gpu/shaders.ts src/deepcompression/_core.pyi .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find browser -name node_modules -prune -exec rm -rf {} +
