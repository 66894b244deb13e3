# `make help` lists the targets. Each one does its own set-up: Python 3.11+ and make are enough.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := core kube router controller sim cli tests e2e benchmarks tools

.PHONY: experiments experiments-quick can-demo can-kind help sync fmt lint types imports gen-check test demo bench e2e-engines demo-k8s kind-demo cluster cluster-images cluster-down e2e-cluster e2e-operator rollouts kind-down e2e-kind images chart-check docs-check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "cardan needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1" -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[router,kubernetes,controller,scaling,sim]' --group test --group lint
	@touch $@

sync: $(READY) ## create .venv with everything, pinned by constraints.txt

fmt: $(READY) ## format the code
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix-only --quiet $(SOURCES)

lint: $(READY) ## format check, ruff, spelling
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/codespell $(SOURCES) docs README.md CHANGELOG.md CONTRIBUTING.md

types: $(READY) ## mypy --strict on code and tests
	$(BIN)/mypy
	$(BIN)/mypy tests benchmarks tools e2e

imports: $(READY) ## the import contracts
	$(BIN)/lint-imports

gen-check: $(READY) ## generated files are fresh
	$(BIN)/python tools/gen_protos.py --check
	$(BIN)/python -m tools.gen_reference --check
	$(BIN)/python -m tools.gen_config_reference --check
	$(BIN)/python -m tools.gen_chart_reference --check
	$(BIN)/python -m tools.gen_dashboards --check
	$(BIN)/python -m tools.gen_crds --check

docs-check: gen-check ## links between the pages resolve, generated pages are fresh
	$(BIN)/pytest -q -n 0 tests/tidy/test_hygiene.py -k "links or anchors or generated"

test: $(READY) ## the whole test suite: unit, laws, real processes
	$(BIN)/pytest -n 2

demo: $(READY) ## eight simulated engines behind the gateway, round-robin against Cardan
	$(BIN)/cardan demo

# Before minutes of installing: what cannot be done here is said at once.
HAS_KIND := command -v kind >/dev/null && docker info >/dev/null 2>&1
can-demo:
	@[ -n "$$CARDAN_KUBECONFIG" ] || { [ "$$(uname)" = Linux ] && [ "$$(id -u)" = 0 ]; } || { $(HAS_KIND); } \
	  || { echo "the demo needs kind and a Docker that answers, or Linux and root"; exit 1; }

can-kind:
	@$(HAS_KIND) || { echo "a kind cluster needs kind and a Docker that answers"; exit 1; }

demo-k8s: can-demo $(READY) ## a cluster, the chart, a workload, an upgrade under load (root, or kind; KEEP=1)
	@$(BIN)/python -m e2e.demo $(if $(KEEP),--keep)

kind-demo: can-kind $(READY) ## the same on kind (Docker; KEEP=1)
	@$(BIN)/python -m e2e.demo --on kind $(if $(KEEP),--keep)

# Needs the public traces: scenarios/README.md.
play = mkdir -p out; for file in scenarios/*.yaml; do name=$$(basename $$file .yaml); \
  $(BIN)/cardan simulate $$file $(1) --json out/$$name.json --report out/$$name.html || exit 1; done
experiments: $(READY) ## every scenario of the simulator: tables, and pages in out/ (hours)
	@$(call play,)

experiments-quick: $(READY) ## their short forms (minutes)
	@$(call play,--quick)

bench: $(READY) ## the gateway against its peers, in one run
	$(BIN)/python -m benchmarks.gateway

e2e-engines: $(READY) ## real vLLM and SGLang behind the gateway (opt-in, needs their recipes)
	$(BIN)/pytest e2e/engines -m engines -p no:randomly  # in order: the last ones end their engines

cluster: $(READY) ## a Kubernetes cluster of our own, kept until `make cluster-down` (root, Go)
	@$(BIN)/python -m e2e.cluster build
	@$(BIN)/python -m e2e.cluster up

cluster-images: $(READY) ## build the images and load them into it; how to install is printed
	@$(BIN)/python -m e2e.images --load '$(or $(CARDAN_CLUSTER_NAME),cardan)'

cluster-down: $(READY) ## remove it
	@$(BIN)/python -m e2e.cluster down

# Tests on the whole node mostly wait: those that need none run beside them (e2e/conftest.py).
BESIDE := -n 2
e2e-cluster: $(READY) ## images, chart and discovery on a real cluster (root, Go; or CARDAN_KUBECONFIG)
	@[ -n "$$CARDAN_KUBECONFIG" ] || $(BIN)/python -m e2e.cluster build
	@$(BIN)/python -m e2e.images
	$(BIN)/pytest e2e -m "cluster and not operator" $(BESIDE)

e2e-operator: $(READY) ## the operator on a real cluster (the same)
	@[ -n "$$CARDAN_KUBECONFIG" ] || $(BIN)/python -m e2e.cluster build
	@$(BIN)/python -m e2e.images
	$(BIN)/pytest e2e -m "cluster and operator" $(BESIDE)

rollouts: $(READY) ## what upgrades, rollouts, evictions and kills lose under load: a table
	$(BIN)/python -m e2e.deploy.rollouts

kind-down: $(READY) ## delete the kind cluster that a demo or a test has made
	@$(BIN)/python -m e2e.kind down

e2e-kind: $(READY) ## the same tests on kind (Docker)
	@config="$$($(BIN)/python -m e2e.kind up)" && export CARDAN_KUBECONFIG="$$config" \
	  && $(BIN)/python -m e2e.images && $(BIN)/pytest e2e -m cluster $(BESIDE)

chart-check: $(READY) ## the chart: lint, schema, templates (needs helm)
	$(BIN)/python -m tools.gen_chart_reference --check
	$(BIN)/pytest -q -n 2 tests/chart

images: $(READY) ## cardan-router, -controller and -engine, by docker, podman or buildah (BASE=IMAGE, TAG=dev)
	$(BIN)/python tools/build_images.py --tag '$(or $(TAG),dev)' $(if $(BASE),--base '$(BASE)')

clean: ## remove .venv and tool caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache out
