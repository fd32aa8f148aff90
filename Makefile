# Thin: every target is one command that can be typed without make. `make` lists them.
#
# SUITE, POLICY and TRIALS come from the command line or the shell, else from .env, which docker compose reads too.
$(foreach line,$(shell sed -nE 's/^(SUITE|POLICY|TRIALS)=/\1?=/p' .env),$(eval $(line)))
CKPT    ?=
MODE    ?=
ARGS    ?=
LIVE    ?=
QUANTIZE ?=
PYTHON  ?= python3
VENV    ?= .venv
UV      ?= uv

export SUITE POLICY TRIALS CKPT LIVE QUANTIZE

PYTEST := $(VENV)/bin/python -m pytest
QUANTIZED := $(if $(QUANTIZE),--quantize $(QUANTIZE))

# An environment's stamp has the checksum of its lock files in its name: it is installed again when they change.
LOCKED := $(shell cat locks/*.txt pyproject.toml | cksum | tr -d ' ')
STAMP := $(VENV)/.installed-$(LOCKED)
MODELS := $(VENV)/.models-$(LOCKED)
RAY := $(VENV)/.ray-$(LOCKED)
NEEDED := $(if $(filter pi0%,$(POLICY)),$(MODELS),$(STAMP))

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z][a-z-]*\):.*/\1/p' Makefile)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'
	@echo "  variables: SUITE=$(SUITE) POLICY=$(POLICY) TRIALS=$(TRIALS) MODE=$(MODE) ARGS='$(ARGS)'"

# ---- Evaluate
# MODE=split: server and simulator in two containers; headless: in one; local: no containers. Default: split where there
# is a Docker engine, else local.

eval: ## evaluate a policy on one suite: SUITE, POLICY, CKPT, TRIALS, QUANTIZE=w4a8, MODE=split|headless|local, LIVE=PORT, ARGS
	@$(MAKE) --no-print-directory eval-$(or $(MODE),$(shell scripts/stack.sh mode))

eval-local: $(NEEDED) ## the same without containers
	$(VENV)/bin/pirig eval --suite $(SUITE) --policy $(POLICY) --policy-dir "$(CKPT)" --num-trials-per-task $(TRIALS) $(if $(LIVE),--live $(LIVE)) $(QUANTIZED) $(ARGS)

eval-split: ## the same in two containers, policy server and simulator
	CLIENT_ARGS='$(ARGS)' scripts/stack.sh split

eval-headless: ## the same in one container, without a socket
	CLIENT_ARGS='$(ARGS)' scripts/stack.sh headless

headless: eval-headless ## an alias of eval-headless

eval-all: ## evaluate a policy on the four standard suites, spread over the GPUs where there are several
	@$(MAKE) --no-print-directory eval-$(or $(MODE),$(shell scripts/stack.sh mode all)) SUITE=all

eval-stack: $(STAMP) ## the same in containers, a policy server on each GPU and a simulator container for each suite
	$(VENV)/bin/pirig stack run --suite $(SUITE) --policy $(POLICY) --policy-dir "$(CKPT)" --num-trials-per-task $(TRIALS) $(QUANTIZED) --client-args='$(ARGS)'

# ---- Serve

serve: ## serve a policy on port 8000: POLICY=pi05_libero (the published checkpoint, or CKPT=) or a baseline; MODE as for eval
	@$(MAKE) --no-print-directory serve-$(or $(MODE),$(shell scripts/stack.sh mode))

serve-split: ## the same in a container
	scripts/stack.sh serve

serve-local: $(NEEDED) ## the same without
	$(VENV)/bin/pirig serve $(QUANTIZED) $(ARGS) $(if $(filter pi0%,$(POLICY)),policy:checkpoint --policy.config $(POLICY) --policy.dir "$(CKPT)",policy:baseline --policy.name $(POLICY))

# ---- Look at results

report: $(STAMP) ## the latest results of all suites, beside the published row
	$(VENV)/bin/pirig report $(ARGS)

# ---- Set up

setup: $(STAMP) ## install everything into .venv, from the lock files; safe to run twice

setup-models: $(MODELS) ## the same with JAX and PyTorch, for pi05_libero and pi0_libero

setup-ray: $(RAY) ## the same with Ray, for pirig eval --executor ray

$(STAMP):
	@scripts/setup.sh "$(PYTHON)" "$(VENV)"
	@touch $@

$(MODELS) $(RAY): $(VENV)/.%-$(LOCKED): $(STAMP)
	@scripts/setup.sh "$(PYTHON)" "$(VENV)" $*
	@touch $@

doctor: $(STAMP) ## check this machine, and print how to fix what is wrong
	$(VENV)/bin/pirig doctor $(ARGS)

clean: ## remove the environments; results and videos stay
	rm -rf $(VENV) $(TOOLS:%=.venv-%) .venv-triton .venv-openpi-client site .pytest_cache .ruff_cache src/*.egg-info

# ---- Tools, each in a virtual environment of its own: `make .venv-NAME` installs locks/NAME.txt

TOOLS := audit docs skypilot trackers
INSTALLS_audit := pip-audit and detect-secrets (60 MB on disk)
INSTALLS_docs := mkdocs-material (160 MB on disk)
INSTALLS_skypilot := SkyPilot (460 MB on disk)
INSTALLS_trackers := Weights & Biases and trackio (125 MB to download)
LOCK_trackers := hosted-trackers

lock_of = locks/$(or $(LOCK_$1),$1).txt
stamp_of = .venv-$1/.installed-$(shell cksum <$(lock_of) | tr -d ' ')
$(foreach name,$(TOOLS) triton,$(eval .venv-$(name): $(call stamp_of,$(name))))

$(foreach name,$(TOOLS),$(call stamp_of,$(name))): .venv-%:
	@echo "installing $(INSTALLS_$(*D)) into $(@D)"
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r $(call lock_of,$(*D))
	@touch $@

# No virtual environment, but a folder for PYTHONPATH: the tests of the kernels run in .venv.
$(call stamp_of,triton): $(STAMP)
	@echo "installing Triton into $(@D) (200 MB to download, 690 MB on disk)"
	@rm -rf $(@D)
	@$(VENV)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes --target $(@D) -r locks/triton.txt
	@touch $@

# ---- Test

test: $(MODELS) $(RAY) ## a test of every law, in 15 minutes on two cores: all but what waits for minutes, or repeats a law at full size
	$(PYTEST) -m "not slow and not full and not faults" $(ARGS)

test-quick: $(MODELS) ## the files of `make test` that take seconds: in 3 minutes, before a commit
	$(PYTEST) -m "not long and not slow and not full and not faults" $(ARGS)

test-slow: $(MODELS) $(RAY) ## the tests that wait for minutes
	$(PYTEST) -m slow $(ARGS)

test-full: $(MODELS) ## the known answers of 150 episodes, against a plain LIBERO loop
	$(PYTEST) -m full -n 0 -s $(ARGS)

test-faults: $(MODELS) $(RAY) ## the fault matrix: signals, hangs, disks, servers, on LIBERO and Ray too, in containers where there are
	$(PYTEST) tests/faults --ignore tests/faults/test_containers.py --faults-out faults.json $(ARGS)
	$(PYTEST) tests/faults/test_containers.py --faults-out faults-containers.json $(ARGS)

test-triton: $(MODELS) .venv-triton ## the CUDA kernels without a GPU, in Triton's interpreter
	PYTHONPATH=.venv-triton $(PYTEST) tests/quantization/test_triton_kernels.py $(ARGS)

# The environment's own packages come first; pirig, pytest and what else it lacks are those of .venv.
test-trackers: $(STAMP) .venv-trackers ## trackio and, offline, Weights & Biases keep what a run's store has
	@{ $(VENV)/bin/python -c 'import site; print(*site.getsitepackages(), sep="\n")'; echo "$(CURDIR)/src"; } >"$$(echo .venv-trackers/lib/python*/site-packages)/pirig.pth"
	.venv-trackers/bin/python -m pytest tests/launch/test_hosted_trackers.py $(ARGS)

test-docker: ## build the images and run the stack for real, on a CPU; as root it installs an engine where there is none
	scripts/ci/stack.sh

test-vm: $(STAMP) ## run scripts/vm/install.sh in a stand-in for an Ubuntu VM; as root, on Debian with debootstrap
	$(VENV)/bin/python scripts/ci/check_vm_install.py

fuzz: $(MODELS) ## a million spoiled frames into the codec, ten thousand into a live server, spoiled files and flags
	$(VENV)/bin/python tests/fuzz/long_run.py $(ARGS)
	$(PYTEST) tests/fuzz -q --hypothesis-profile=long

bench: $(MODELS) ## time inference, in both backends
	$(VENV)/bin/python benchmarks/inference.py $(ARGS)

# ---- Check

lint: $(MODELS) ## style, format and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ty check

lint-scripts: $(STAMP) ## the same for shell scripts and the Dockerfile
	$(VENV)/bin/shellcheck scripts/*.sh scripts/ci/*.sh scripts/vm/*.sh docker/*.sh examples/libero/*.sh .ci/run
	$(VENV)/bin/hadolint docker/Dockerfile

lint-sky: .venv-skypilot ## the same for the SkyPilot task file, by SkyPilot's own parser
	.venv-skypilot/bin/python scripts/ci/check_skypilot.py

format: $(STAMP) ## mend style and format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

audit: .venv-audit ## look up known vulnerabilities of all locked packages; needs the network
	.venv-audit/bin/python scripts/ci/audit.py packages

secrets: .venv-audit ## look for keys in tracked files
	.venv-audit/bin/python scripts/ci/audit.py secrets

# ---- Build

build: ## build the container images
	scripts/stack.sh build

down: ## remove the stack's containers and network
	scripts/stack.sh down

# Not --quiet: a warning that is not said is not counted either.
docs: .venv-docs ## build the site of docs/ into site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

docs-serve: .venv-docs ## the same on http://127.0.0.1:8002, while pages are written
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs serve --dev-addr 127.0.0.1:8002

# ---- Release

wheel-check: ## build the wheel, install it with each extra alone in a clean environment: ARGS='base libero torch …'
	PYTHON="$(PYTHON)" scripts/ci/wheel.sh $(ARGS)

sbom: $(STAMP) ## write dist/sbom-environment.json: what the environment holds, licences included, as CycloneDX
	@mkdir -p dist
	$(VENV)/bin/python scripts/sbom.py >dist/sbom-environment.json

sbom-images: ## the same for each image that is built
	scripts/sbom_images.sh

pin-base: ## write the digest of the base image, as its registry has it, into .env
	scripts/pin_base.sh

PINS := src/pirig/stack/pins.txt
PINNED := libero checkpoints jax torch stack trackers

lock: ## make the lock files again from locks/*.in (needs uv: UV=path)
	@for name in build libero trackers dev openpi-client server stack checkpoints jax torch triton ray; do \
	    $(UV) pip compile --no-deps --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	        --no-header --no-annotate locks/$$name.in -o locks/$$name.txt || exit 1; done
	for name in skypilot audit docs hosted-trackers; do \
	    $(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	        --no-annotate locks/$$name.in -o locks/$$name.txt || exit 1; done
	$(UV) pip compile --no-deps --python-platform x86_64-manylinux_2_28 --python-version 3.12 --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate locks/cuda.in -o locks/cuda.txt
	$(UV) pip compile --python-platform x86_64-manylinux_2_28 --python-version 3.12 --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate locks/ray-jobs.in -o locks/ray-jobs.txt
	$(MAKE) --no-print-directory $(PINS)

$(PINS): $(PINNED:%=locks/%.txt) # what doctor compares a machine with
	@for name in $(PINNED); do sed -n "s/^\([A-Za-z0-9_.-]*==[^ ]*\) .*/$$name \1/p" locks/$$name.txt; done >$@
