# Everything a fresh machine needs beyond this file is python3.11, make and git. `make help` lists the targets.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
EXTRAS := rewriter,encoder,generator,tae,audio,editor,personalizer,upsampler,graph,s3,jobs,pipelines,train,bench,dev
STAMP := $(VENV)/.installed
VERSION ?= mini-4
CLUSTER := minio helm etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl coredns pause training-operator ray-operator

# What a person types travels to the recipe in the environment, word for word: `value` keeps make from expanding a `$` in
# it, and the shell only ever sees a quoted variable. The names differ from the arguments because SECONDS is the shell's
# own clock in bash.
export FILM_PROMPT := $(value PROMPT)
export FILM_SECONDS := $(value SECONDS)
export FILM_ASPECT := $(value ASPECT)
export FILM_SEED := $(value SEED)
export FILM_OUT := $(value OUT)
unexport PROMPT SECONDS ASPECT SEED OUT

.DEFAULT_GOAL := help
.PHONY: help env film prompt-given test binaries cluster-up cluster-down cluster-test lint format protos protos-release weights bench constraints

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(STAMP) ## make .venv from constraints.txt; again only when it or pyproject.toml changes

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --python $(BIN)/python --constraints constraints.txt --editable ".[$(EXTRAS)]"
	@touch $@

film: prompt-given $(STAMP) ## PROMPT="a red ball bounces" [SECONDS=2 ASPECT=1:1 SEED=7 OUT=film.mp4]: write a film
	@$(BIN)/kino film $${FILM_SECONDS:+--seconds "$$FILM_SECONDS"} $${FILM_ASPECT:+--aspect "$$FILM_ASPECT"} \
		$${FILM_SEED:+--seed "$$FILM_SEED"} $${FILM_OUT:+--out "$$FILM_OUT"} -- "$$FILM_PROMPT"

prompt-given:
	@test -n "$$FILM_PROMPT" || { echo 'make film PROMPT="a red ball bounces across a green meadow"' >&2; exit 2; }

test: $(STAMP) ## run the default test suite
	$(BIN)/pytest -q -n 2 --dist loadscope --no-loadscope-reorder

binaries: $(STAMP) ## build MinIO and both Helms, which tests run, by Go: once per version, into the user's cache folder
	$(BIN)/python -m tests.cluster.binaries minio helm helm4

cluster-up: $(STAMP) ## bring up a real Kubernetes on this machine, in a network namespace of its own; as root
	$(BIN)/python -m tests.cluster.binaries $(CLUSTER)
	$(BIN)/python -m tests.cluster up

cluster-down: $(STAMP) ## end it, and remove all but its programs and images
	$(BIN)/python -m tests.cluster down

cluster-test: cluster-up ## [ONLY="install policy"]: run the tests that need the cluster, or some of their files
	$(BIN)/python -m tests.cluster.images
	$(if $(filter entrance,$(or $(ONLY),entrance)),$(BIN)/python -m tests.cluster.binaries traefik)
	nsenter --net=/run/netns/kino-cluster $(BIN)/pytest -q -m cluster \
		$(if $(ONLY),$(ONLY:%=tests/cluster/test_%.py),tests/cluster)

test-models: $(STAMP) ## judge what the shipped weights make, through every service (minutes)
	$(BIN)/pytest -q -m models

lint: $(STAMP) ## check format, lint rules, types and the protos
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/buf lint

format: $(STAMP) ## rewrite the code as ruff formats it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protos: $(STAMP) ## lint the protos, compare them with the last release, and generate kino/v1 from them
	$(BIN)/buf lint
	$(BIN)/buf breaking --against protos/image.binpb
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=. --mypy_out=quiet:. \
		protos/kino/v1/*.proto
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iprotos --grpc_python_out=. \
		--mypy_grpc_out=quiet:. $$(grep -l '^service ' protos/kino/v1/*.proto)

protos-release: $(STAMP) ## take the protos as they are as the release that `buf breaking` compares with
	$(BIN)/buf build --exclude-source-info -o protos/image.binpb

weights: $(STAMP) ## [VERSION=mini-4] train and publish every shipped network, going on from what runs/ holds (hours)
	$(BIN)/python -m training.plan run --plan mini --version "$(VERSION)" --alias mini

bench: $(STAMP) ## measure against diffusers, per stage, and the graph's own cost; writes runs/bench.json
	$(BIN)/python -m tests.bench --out runs/bench.json

constraints: $(STAMP) ## resolve every extra again and rewrite constraints.txt
	UV_CUSTOM_COMPILE_COMMAND="make constraints" $(BIN)/uv pip compile pyproject.toml --all-extras --universal \
		--fork-strategy fewest --python-version 3.11 --no-emit-index-url --no-emit-find-links --quiet \
		--upgrade --output-file constraints.txt
