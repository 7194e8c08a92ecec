# Two commands matter: `make train` and `make test`. Both set up `.venv` when it is missing.
VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
MODEL_DIR ?= runs/toy
GIN_FILE ?= gin/experiments/toy.gin
EVALUATION ?= gin/evaluations/toy.gin
# For runs on files: the folder. Further options of the two verbs, e.g. TRAIN_FLAGS=--gin.TRAIN_STEPS=100.
DATA_DIR ?=
TRAIN_FLAGS ?=
EVALUATE_FLAGS ?=
DATA := $(if $(DATA_DIR),--gin.DATA_DIR=$(DATA_DIR))
TEST_WORKERS ?= 3
STAMP := $(VENV)/.installed

.PHONY: train report test test-all lint format types smoke oracle beam clean

train: $(STAMP)
	$(BIN)/xlingual train --gin_file=$(GIN_FILE) --gin.MODEL_DIR=$(MODEL_DIR) $(DATA) $(TRAIN_FLAGS)

# Trains, evaluates with all that applies, and writes MODEL_DIR/report/report.html.
report: train
	$(BIN)/xlingual evaluate --gin_file=$(EVALUATION) --run=$(MODEL_DIR) $(DATA) $(EVALUATE_FLAGS)
	$(BIN)/xlingual report $(MODEL_DIR) --png

test: $(STAMP)
	$(BIN)/python -m pytest -q -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow" --durations=40

# The slow tests too.
test-all: $(STAMP)
	$(BIN)/python -m pytest -q -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell xlingual benchmarks gin docs tpu README.md

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)
	$(BIN)/mypy xlingual

smoke: $(STAMP)
	$(BIN)/xlingual train --gin_file=gin/runs/smoke.gin --gin.MODEL_DIR=runs/smoke

# The tests against PyTorch run only where it is installed; this installs it.
oracle: $(STAMP)
	$(BIN)/pip install --quiet "torch<=2.13.0"

# The tests of pivot-join run only where Apache Beam is installed; this installs it, and the older
# sentencepiece and protobuf that it needs: use a VENV of its own.
beam: $(STAMP)
	$(BIN)/pip install --quiet --editable ".[seqio,corpus,dev,beam]"

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache

$(STAMP): setup.py
	@test -n "$(PYTHON)" || { echo "xlingual needs Python 3.11 or 3.12 on the PATH"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[seqio,corpus,dev]"
	$(BIN)/xlingual doctor
	@touch $(STAMP)
