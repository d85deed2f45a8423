# Every target makes .venv first where it is missing or out of date (tools/bootstrap.sh).
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
BOOTSTRAP := tools/bootstrap.sh
# Further arguments for pytest: make test ARGS="-k tunnel -x"
ARGS ?=
# For make image: the image to start from, and the tag of both images.
BASE ?=
TAG ?=

.PHONY: help
help:  ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: env
env:  ## Make .venv, with everything that the other targets need
	@$(BOOTSTRAP)

.PHONY: demo
demo: env  ## Run a notebook on a runner and show every step; results in build/demo
	@$(BIN)/python -m demo.run

.PHONY: demo-cluster
demo-cluster: env  ## The same on a pod of the test cluster, with a bucket of S3 (needs root)
	@$(BIN)/python -m demo.cluster

.PHONY: lab
lab: frontend  ## Open JupyterLab with the runners among its kernels
	@$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

.PHONY: frontend
frontend: env  ## Build JupyterLab's part, where it has changed
	@$(BIN)/python -m tools.frontend build

.PHONY: watch
watch: env  ## Build JupyterLab's part whenever it is edited
	@$(BIN)/python -m tools.frontend watch

.PHONY: test
test: env  ## Run all checks and all tests; one that fails does not hide the next
	@$(BIN)/python -m tools.check all -- $(ARGS)

.PHONY: lint
lint: env  ## Run the static checks of Python and TypeScript, and jest
	@$(BIN)/python -m tools.check lint

.PHONY: screenshots
screenshots: frontend  ## Make the pictures of JupyterLab in docs/images anew
	@GRA_SCREENSHOTS=docs/images $(BIN)/pytest --backend local tests/browser/test_screenshots.py

.PHONY: image
image: env  ## Build the images of runner-image/ with their bills of materials in build/image
	@$(BIN)/python -m tools.image $(if $(BASE),--base $(BASE)) $(if $(TAG),--tag $(TAG)) $(ARGS)

.PHONY: soak
soak: env  ## Run the tests that take many rounds
	@$(BIN)/python -m tools.check soak -- $(ARGS)

.PHONY: cluster-up
cluster-up: env  ## Bring the test cluster up, or repair it: Kubernetes on this host (needs root)
	@$(BIN)/python -m tests.cluster up

.PHONY: cluster-status
cluster-status: env  ## Say how each part of the test cluster is
	@$(BIN)/python -m tests.cluster status

.PHONY: cluster-down
cluster-down: env  ## Take the test cluster down and remove what it made on this host
	@$(BIN)/python -m tests.cluster down

.PHONY: bench
bench: env  ## Measure start, throughput, round trip and memory against the bars
	@$(BIN)/python -m tests.benchmarks $(ARGS)

.PHONY: format
format: env  ## Format the code and repair what the linters can
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .
	@$(BIN)/python -m tools.frontend format

.PHONY: schemas
schemas: env  ## Write docs/schemas, and the REST API's types for the front end, anew
	@$(BIN)/python -m tools.schemas
	@$(BIN)/python -m tools.frontend types

.PHONY: lock
lock:  ## Renew requirements/*.txt and the runner image's: the newest versions that are allowed
	@$(BOOTSTRAP) uv pip compile pyproject.toml --group dev --universal --python-version 3.10 \
	    --override requirements/overrides.txt --upgrade --generate-hashes --no-annotate --quiet \
	    --custom-compile-command "make lock" --output-file requirements/dev.txt
	@$(BOOTSTRAP) uv pip compile --group schemas --universal --python-version 3.10 \
	    --upgrade --generate-hashes --no-annotate --quiet \
	    --custom-compile-command "make lock" --output-file requirements/schemas.txt
	@$(BOOTSTRAP) uv pip compile runner-image/requirements.in --universal --python-version 3.11 \
	    --upgrade --generate-hashes --no-annotate --quiet \
	    --custom-compile-command "make lock" --output-file runner-image/requirements.txt

.PHONY: build
build: env  ## Build the wheel and the source distribution into dist, front end included
	@rm -rf dist
	@$(BIN)/python -m hatchling build

.PHONY: clean
clean:  ## Remove .venv, caches and everything built
	@rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@rm -rf labextension/{lib,node_modules,*.tsbuildinfo,.eslintcache,.stylelintcache,coverage}
	@rm -rf gra_provisioner/labextension
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
