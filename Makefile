# make demo    a picture -> 32 codes -> a picture, offline, with the bundled model
# make test    all tests; those of `seed chat --web` need gradio and a browser: make test-web, which installs gradio (gradio 6 takes Pillow back to 12)
# make test-fast   those of the parts, in under a minute;   make test-all   with every extra, Java and a browser: there a skip is a failure
# make test-lowest   the fast ones, and those of models, pictures, a training and a server, with the lower bounds of pyproject.toml in a venv of its own (6 GB)
# make torture   ten minutes of hostile files, kills, Ctrl-C and full disks, by one seed: prints a table, and what broke the rule
# make fuzz    2,000 hostile requests to every route of seed serve, by one seed: none may get 500
# make check   linter, formatter and types, changes nothing;   make fix lets them change
# make lock    requirements.lock anew: the versions that tests run with; test-lowest has others, and test-all, test-web and docs take what their extras ask for
# make bench   time and memory at full size (1 B parameters, seeded weights): minutes, 8 GB
# make bench-gpu   what only a GPU can tell, with random weights, in six minutes: on a machine that has torch and reaches nothing (tools/bench_gpu)
# make docs    the pages of docs/ as a site in build/site; broken links fail
# make nano-tables   everything that the README says of seed-nano, measured into runs/eval/nano; what is there is not measured again
#
# The first of them builds .venv. On Linux without an NVIDIA GPU torch is the CPU build, if PyTorch's own index answers, else the pinned one of
# the package index (6.5 GB against under 2). Another choice:  make demo TORCH="torch==2.14.1 torchvision==0.29.1"

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test fuzz torture test-fast test-all test-lowest test-web check fix lock bench bench-gpu docs nano-tables

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
PINNED_TORCH := torch==2.14.1 torchvision==0.29.1
TORCH ?=
PICTURE ?= examples/face.png
NANO_RESULTS ?= runs/eval/nano
GPU_RESULTS ?= bench-gpu.json
VENV := .venv
BIN := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1

$(VENV)/installed: pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "no Python of 3.11 or newer found; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "1/3 a virtual environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "2/3 torch, minutes at the first time"
	@torch="$(TORCH)"; test -n "$$torch" || torch=$$($(PYTHON) tools/torch_build.py $(PINNED_TORCH)); \
	$(BIN)/python -m pip install $$torch || { test "$$torch" != "$(PINNED_TORCH)" && test -z "$(TORCH)" \
		&& echo "torch: that build cannot be had; the pinned one of the package index" >&2 \
		&& $(BIN)/python -m pip install $(PINNED_TORCH); }
	@echo "3/3 seed and what it stands on"
	@$(BIN)/python -m pip install --constraint requirements.lock --editable '.[train]'
	@touch $@

# What tests, checks and figures need beside it: users never wait for it.
$(VENV)/developed: $(VENV)/installed
	$(BIN)/python -m pip install --constraint requirements.lock --editable '.[dev]'
	@touch $@

demo: export HF_HUB_OFFLINE := 1
demo: $(VENV)/installed
	$(BIN)/seed tokenize $(PICTURE) > demo.jsonl
	@cat demo.jsonl
	$(BIN)/seed detokenize demo.jsonl -o demo.png
	@$(BIN)/python -m tools.side_by_side $(PICTURE) demo.png demo-before-after.png
	@echo
	@echo "$(PICTURE) became the 32 codes in demo.jsonl, and these alone became demo.png."
	@echo "Before and after, side by side: demo-before-after.png"
	@echo
	@echo "Next, type:"
	@echo "  . $(BIN)/activate"
	@echo "  seed chat"
	@echo "  seed tokenize YOUR.png | seed detokenize -o again.png"

# as many at once as there are cores, at most four: a training that a test begins takes a GB or two
AT_ONCE := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: export OMP_NUM_THREADS := 1
test: $(VENV)/developed
	$(BIN)/python -m pytest $(AT_ONCE)

fuzz: $(VENV)/developed
	$(BIN)/python -m tests.workflows.serve.fuzz --bodies 2000

torture: $(VENV)/developed
	$(BIN)/python -m tests.torture --seconds 600

FAST := tests/contracts tests/recipe tests/benchmarks tests/parity tests/golden tests/test_*.py

test-fast: export OMP_NUM_THREADS := 1
test-fast: $(VENV)/developed
	$(BIN)/python -m pytest -m "not slow and not bench" $(AT_ONCE) $(FAST)

test-all: export OMP_NUM_THREADS := 1
test-all: $(VENV)/developed
	$(BIN)/python -m pip install --quiet --editable '.[dev,docs,ray,browser]'
	@command -v java && command -v chromium || { echo "install Java and Chromium first: apt-get install default-jre-headless chromium" >&2; exit 1; }
	$(BIN)/python -m pytest --no-skips $(AT_ONCE)

# the lowest torch has no wheels for the newest Pythons
OLDEST_PYTHON := $(or $(shell command -v python3.11),$(PYTHON))
LOWEST := .venv-lowest/bin/python

# where other packages are called the most; the estimates of test_cost.py are of the newest torch and transformers
PACKAGES_TESTED := tests/models tests/data/images tests/data/mixtures/test_addresses.py tests/training/test_phase.py tests/training/test_loop.py \
	tests/training/test_trackers.py tests/workflows/train/test_instruct.py tests/workflows/serve/test_routes.py tests/workflows/serve/test_clients.py \
	--ignore tests/models/language/test_cost.py

test-lowest: export OMP_NUM_THREADS := 1
test-lowest:
	test -x $(LOWEST) || $(OLDEST_PYTHON) -m venv .venv-lowest
	$(LOWEST) tools/floors.py > .venv-lowest/floors.txt
	$(LOWEST) -m pip install --quiet --constraint .venv-lowest/floors.txt --editable '.[dev]'
	$(LOWEST) -m pytest -m "not slow and not bench" $(AT_ONCE) $(FAST) $(PACKAGES_TESTED)

test-web: export OMP_NUM_THREADS := 1
test-web: $(VENV)/developed
	@command -v chromium || command -v google-chrome || { echo "install Chromium first: apt-get install chromium" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --editable '.[dev,browser]'
	$(BIN)/python -m pytest --no-skips tests/workflows/chat/test_web.py tests/cli/test_chat_web.py tests/cli/test_web_page.py

check: $(VENV)/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(VENV)/developed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/developed
	$(BIN)/python -m pip install --quiet uv
	echo '$(PINNED_TORCH)' | tr ' ' '\n' > $(VENV)/torch.txt
	$(BIN)/uv pip compile --quiet --universal --no-annotate --no-header --python-version 3.11 --constraint $(VENV)/torch.txt \
		--extra dev --extra docs --extra ray pyproject.toml --output-file requirements.lock

bench: $(VENV)/developed
	$(BIN)/python -m pytest -s -m bench

# No environment of ours is built: the machine has its own.
bench-gpu:
	$(PYTHON) -m tools.bench_gpu -o $(GPU_RESULTS)

docs: $(VENV)/developed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/mkdocs build --quiet

# Exit code 4 means that some of the measurements failed; the table is made of the others, and says which.
nano-tables: export HF_HUB_OFFLINE := 1
nano-tables: $(VENV)/developed
	$(BIN)/seed eval paper --model seed-nano --run --results $(NANO_RESULTS) -o $(NANO_RESULTS)/paper || test $$? -eq 4
	test -s $(NANO_RESULTS)/nano-report.json || { $(BIN)/python -m tools.nano.report > $(NANO_RESULTS)/report.partial \
		&& mv $(NANO_RESULTS)/report.partial $(NANO_RESULTS)/nano-report.json; }
	test -s $(NANO_RESULTS)/nano-llm-report.json || ! test -d seedcli/bundled/nano/llm || { \
		$(BIN)/python -m tools.nano.llm_report > $(NANO_RESULTS)/llm-report.partial \
		&& mv $(NANO_RESULTS)/llm-report.partial $(NANO_RESULTS)/nano-llm-report.json; }
	$(BIN)/python -m tools.nano.tables $(NANO_RESULTS) | tee $(NANO_RESULTS)/nano-tables.md
