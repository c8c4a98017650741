# Needs Python 3.11 or newer and git; everything else is installed into .venv from constraints.txt.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# uv does not read pip's configuration; a machine that sets its index there means both.
INDEX = $(shell $(BIN)/python -m pip config get global.index-url 2>/dev/null)

.PHONY: help demo test check format e2e manifests docs bench benchserving benchaccelerate lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(READY): constraints.txt pyproject.toml
	@echo "setting up $(VENV) (once)" >&2
	@$(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' constraints.txt > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(VENV)/uv.txt
	@UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$(INDEX)}" $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement constraints.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY) ## Train, package, run, ask, render; deploy where a cluster answers
	@$(BIN)/python models/demo.py

test: $(READY) ## Unit tests; they need no cluster, registry or engine
	@$(BIN)/pytest -q -n auto tests --ignore tests/e2e

check: $(READY) ## Formatting, lint, types, direction of imports, rendered examples
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pytest -q tests/test_imports.py

format: $(READY) ## Rewrite the sources in house style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# A file is one worker's, as its tests share what is slow to make; three, as much of the time is waiting.
e2e: $(READY) ## Tests on the cluster of KUBECONFIG with the registry SERVEGEN_TEST_REGISTRY
	@$(BIN)/pytest -q -n 3 --dist loadfile tests/e2e

manifests: $(READY) ## Render the examples into manifests/
	@$(BIN)/python models/render.py

docs: $(READY) ## Write docs/reference from the program
	@$(BIN)/python docs/generate.py

bench: $(READY) ## Compare packaging with the peers side by side; needs root and buildah
	@$(BIN)/python bench/image.py

benchserving: $(READY) ## Compare the servers side by side; needs wrk and two idle cores
	@$(BIN)/python bench/serving.py

benchaccelerate: $(READY) ## Compare models as logged and as ONNX; needs wrk and two idle cores
	@$(BIN)/python bench/accelerate.py

lock: $(READY) ## Renew constraints.txt
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate --only-binary :all: --python-version 3.11 --upgrade --quiet --output-file constraints.txt

clean: ## Remove what the targets above made
	rm -rf $(VENV) .demo .bench .pytest_cache .mypy_cache .ruff_cache
