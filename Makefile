# Fairlead: `make help` lists what there is to do. Everything is quick the second time: stamps live beside what they vouch for.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export DEBIAN_FRONTEND := noninteractive

VENV := .venv
PYTHON := $(VENV)/bin/python
CLANG ?= clang-19
CLANG_FORMAT ?= clang-format-19
LLVM_STRIP ?= llvm-strip-19

OBJECTS := src/fairlead/_objects
BPF_SOURCES := $(wildcard bpf/*.bpf.c bpf/lab/*.bpf.c)
BPF_OBJECTS := $(patsubst %.c,$(OBJECTS)/%.o,$(notdir $(BPF_SOURCES)))
# -mcpu=v3 is what the kernel floor, 5.15, understands; libbpf's headers want the multiarch directory on Debian.
# Kernels before 6.5 take a backward edge only out of a jump: block placement would let a loop's last instruction fall into its first.
BPF_FLAGS := -O2 -g -target bpf -mcpu=v3 -mllvm -disable-block-placement -Wall -Wextra -Werror -Ibpf -I/usr/include/$(shell gcc -print-multiarch 2>/dev/null)
EXTENSION := src/fairlead/_native/_ext.abi3.so
EXTENSION_SOURCES := setup.py $(wildcard bpf/abi*.h) $(wildcard src/fairlead/_native/*.c src/fairlead/_native/*.h src/fairlead/_native/*.py)
C_SOURCES := $(wildcard bpf/*.[ch] bpf/lab/*.[ch] bench/*.[ch] src/fairlead/_native/*.[ch])

.PHONY: help setup ready build bpf bpf-flags ext tools kernels man demo test soak fuzz check check-form check-unit check-rest bench coverage requirements clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing, build everything (DRY=1: only say what would be done)
ifdef DRY
	@scripts/setup.sh dry
else
	@scripts/setup.sh packages
	@$(MAKE) ready
endif

ready: $(VENV)/.requirements bpf ext $(VENV)/.editable tools

$(VENV)/.requirements: requirements.txt requirements-dev.txt
	@scripts/setup.sh venv
	@touch $@

$(VENV)/.editable: pyproject.toml setup.py $(VENV)/.requirements
	@$(VENV)/bin/pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

build: ready ## compile everything, and put the wheel, BPF objects in it, under dist/
	@$(VENV)/bin/pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .
	@ls dist/*.whl

bpf: $(BPF_OBJECTS) ## compile the BPF objects

bpf-flags: # for the tests that compile mutants
	@echo $(CLANG) $(BPF_FLAGS)

# One rule for both source directories: VPATH would also find stale objects.
define object_rule
$(OBJECTS)/$(notdir $(1:.c=.o)): $(1) Makefile
	@command -v $(CLANG) >/dev/null || { echo "$(CLANG) is missing: make setup installs it" >&2; exit 1; }
	@mkdir -p build/bpf $(OBJECTS)
	$(CLANG) $(BPF_FLAGS) -MMD -MP -MF build/bpf/$(notdir $(1:.c=.d)) -MT $$@ -c $$< -o build/bpf/$$(@F)
	@$(LLVM_STRIP) -g build/bpf/$$(@F)
	@mv build/bpf/$$(@F) $$@
endef
$(foreach source,$(BPF_SOURCES),$(eval $(call object_rule,$(source))))
-include $(wildcard build/bpf/*.d)

ext: $(EXTENSION) ## build the C extension in place

$(EXTENSION): $(EXTENSION_SOURCES) $(VENV)/.requirements
	$(PYTHON) setup.py --quiet build_ext --inplace
	@touch $@

tools: $(wildcard scripts/tools.sh)
	@if [ -x scripts/tools.sh ]; then scripts/tools.sh; fi

kernels: setup ## boot Debian's other kernels in QEMU: real VLANs, bonds, the kernel's own tunnels (`make test`: a part of it)
	@scripts/setup.sh kernels
	@FAIRLEAD_KERNELS=all $(PYTHON) -m pytest -rA tests/kernels

man: ready ## make the manual pages from the commands: build/man
	@$(PYTHON) scripts/man.py build/man

demo: setup ## real HTTP requests through a lab, a backend dies and comes back (DOWN=1: tear the lab down afterwards)
	@$(PYTHON) -m fairlead.lab.demo $(if $(DOWN),--down)

test: setup ## everything, as root, one pytest run
	@[ "$$(id -u)" = 0 ] || { echo "make test needs root: network namespaces and BPF" >&2; exit 1; }
	@scripts/setup.sh kernels || true
	@$(PYTHON) -m pytest tests

soak: setup ## an hour under traffic, churn, outages of what takes events, restarts and kills (TIME=3600 seconds, SEED=... of a run)
	@$(PYTHON) -m tests.lab.soak $(or $(TIME),3600) $(SEED)

fuzz: setup ## compare the program with the reference model (N=100000 frames, SEED=... to repeat a run)
	@unshare -n $(PYTHON) -m tests.bpf.fuzz $(or $(N),100000) $(SEED)

check: ready ## what needs no root: formats, warnings, types, layers, pure tests, what the programs weigh
	@$(MAKE) --output-sync=target --jobs=3 check-form check-unit check-rest

check-form:
	@[ -z "$(C_SOURCES)" ] || $(CLANG_FORMAT) --dry-run -Werror $(C_SOURCES)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(PYTHON) scripts/programs.py $(OBJECTS)/balancer.bpf.o $(OBJECTS)/probe.bpf.o $(OBJECTS)/twin.bpf.o

check-unit:
	@$(PYTHON) -m pytest -q -m "not root and not live" tests/unit

check-rest:
	@$(PYTHON) -m pytest -q -m "not root" tests/repo tests/wire

bench: setup ## measure the data plane; rewrites bench/RESULTS.md and bench/results.json
	@$(PYTHON) -m bench

coverage: setup ## how much of the data plane's C a corpus of packets reaches: compiled for the host, no root needed
	@$(PYTHON) -m tests.coverage

requirements: ## pin the dependencies anew; no index, link or host is written into the files
	@for name in requirements requirements-dev; do \
		$(VENV)/bin/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes --no-header \
			--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options --output-file $$name.txt $$name.in; \
	done

clean: ## remove what was built; the virtual environment and .tools stay
	rm -rf build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis $(OBJECTS)/*.o $(EXTENSION)
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
