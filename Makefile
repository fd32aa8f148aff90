# Thin: every target is one command that can be typed without make. `make` lists them.
SUITE   ?= libero_spatial
POLICY  ?= pi05_libero
TRIALS  ?= 50
CKPT    ?=
MODE    ?= local
ARGS    ?=
PYTHON  ?= python3
VENV    ?= .venv
UV      ?= uv

STAMP := $(VENV)/.installed-$(shell cat locks/*.txt pyproject.toml | cksum | tr -d ' ')
MODELS := $(VENV)/.models-$(lastword $(subst -, ,$(STAMP)))
NEEDED := $(if $(filter pi0%,$(POLICY)),$(MODELS),$(STAMP))
PYTEST := $(VENV)/bin/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup setup-models eval eval-all serve test test-slow test-full lint format lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'
	@echo "  variables: SUITE=$(SUITE) POLICY=$(POLICY) TRIALS=$(TRIALS) MODE=$(MODE) ARGS='$(ARGS)'"

setup: $(STAMP) ## install everything into .venv, from the lock files; safe to run twice

$(STAMP):
	@scripts/setup.sh "$(PYTHON)" "$(VENV)"
	@touch $@

setup-models: $(MODELS) ## the same with JAX and PyTorch, for pi05_libero and pi0_libero

$(MODELS): $(STAMP)
	@scripts/setup.sh "$(PYTHON)" "$(VENV)" models
	@touch $@

eval: mode-$(MODE) $(NEEDED) ## evaluate a policy on one suite: SUITE, POLICY, CKPT, TRIALS, MODE=local, ARGS
	$(VENV)/bin/pirig eval --suite $(SUITE) --policy $(POLICY) --policy-dir "$(CKPT)" --num-trials-per-task $(TRIALS) $(ARGS)

eval-all: mode-$(MODE) $(NEEDED) ## evaluate a policy on the four standard suites
	$(VENV)/bin/pirig eval --suite all --policy $(POLICY) --policy-dir "$(CKPT)" --num-trials-per-task $(TRIALS) $(ARGS)

serve: $(NEEDED) ## serve a policy on port 8000: POLICY=pi05_libero (the published checkpoint, or CKPT=) or a baseline
	$(VENV)/bin/pirig serve $(ARGS) $(if $(filter pi0%,$(POLICY)),policy:checkpoint --policy.config $(POLICY) --policy.dir "$(CKPT)",policy:baseline --policy.name $(POLICY))

test: $(MODELS) ## all tests but the slow and full ones
	$(PYTEST) -m "not slow and not full" -n 2 --dist loadfile $(ARGS)

test-slow: $(MODELS) ## the tests that wait for minutes
	$(PYTEST) -m slow $(ARGS)

test-full: $(MODELS) ## the known answers of 150 episodes, against a plain LIBERO loop
	$(PYTEST) -m full -s $(ARGS)

lint: $(MODELS) ## style, format and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ty check

format: $(STAMP) ## mend style and format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock: ## make the lock files again from locks/*.in (needs uv: UV=path)
	@for name in build libero dev openpi-client checkpoints jax torch; do \
	    $(UV) pip compile --no-deps --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	        --no-header --no-annotate locks/$$name.in -o locks/$$name.txt || exit 1; done

clean: ## remove the environments; results and videos stay
	rm -rf $(VENV) .venv-openpi-client .pytest_cache .ruff_cache src/*.egg-info

.PHONY: mode-local
mode-local:
mode-%:
	@echo "MODE=$*: only MODE=local exists so far; the container modes come with the container stack" >&2; exit 2
