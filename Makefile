# What can be done here; `make` alone lists it. A fresh machine needs python3 (3.11 or later) and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
EXAMPLES := runs/examples
SEEDS := 0 1 2
RUNS = $(SEEDS:%=runs/brief-%)
PEER := build/peer
HEREDITIES := cluster magnitude synapse taylor removal sensitivity random shuffled scratch
ABLATIONS := distillation:training.distillation=0 shift:training.shift=0 growth:training.epochs=2+training.growth=0.25 \
  rate:training.rate_growth=0 rewind:evolution.rewind=2 mutation:evolution.mutation=0.1 \
  sizes:encoding.heredity=cluster scope:environment.cluster_scope=layer sharpness:encoding.cluster_sharpness=2 \
  population:evolution.population=3 parents:evolution.population=3+evolution.parents=2
CASES := 3000
# Tests compile thousands of small programs and run each a few times: compiling without optimisation halves their time.
PYTEST := XLA_FLAGS="$${XLA_FLAGS:---xla_backend_optimization_level=0}" \
  $(BIN)/python -m pytest --numprocesses auto --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install demo quick test install-tflite check format results brief frugal slim lean sharp paper heredity ablations examples bench halving analysis peer hosts shapes cfiles fuzz installs extras clean

help:  ## list these goals
	@grep -hE '^[a-z -]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

install: $(VENV)/.installed  ## make .venv and install synevo in it

demo: install  ## train, evolve, compact and report on the embedded digits
	rm -rf $(DEMO)
	$(BIN)/synevo train-ancestor --preset demo --run $(DEMO)
	$(BIN)/synevo evolve $(DEMO)
	$(BIN)/synevo compact $(DEMO)
	$(BIN)/synevo report $(DEMO)
	@echo 'Done. To call synevo yourself: . $(BIN)/activate, then synevo report $(DEMO) --html, or synevo --help'

quick: install  ## run the tests that start no process and train no lineage, in under a minute
	$(PYTEST) -m "not slow"

test: install  ## run all tests; what is skipped is listed with its reason
	$(PYTEST) $(TESTING)

install-tflite: install  ## also install TensorFlow (2 GB), for the tests of TFLite
	$(BIN)/python -m pip install --quiet --editable '.[tflite]'

check: install  ## check format, lint, types and architecture, in seconds
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

format: install  ## format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

results: install  ## write the tables of README and guide anew, from the raw figures beside the presets
	$(BIN)/python -m synevo.report.results README.md src/synevo/guide/results.md

brief frugal slim lean sharp paper: install  ## the MNIST lineages of a preset, a run a seed (needs MNIST in TFDS_DATA_DIR)
	$(BIN)/synevo train-ancestor --preset $@ --seeds "$(SEEDS)" --run runs/$@
	$(BIN)/synevo evolve $(SEEDS:%=runs/$@-%)
	$(BIN)/synevo compact $(SEEDS:%=runs/$@-%)
	$(BIN)/synevo report $(SEEDS:%=runs/$@-%)

heredity: install  ## every heredity from the same ancestors, a run a seed (needs MNIST in TFDS_DATA_DIR)
	$(BIN)/synevo train-ancestor --preset heredity --seeds "$(SEEDS)" --run runs/heredity-cluster
	for name in $(HEREDITIES); do \
	  $(BIN)/synevo train-ancestor --preset heredity --seeds "$(SEEDS)" --ancestor-of runs/heredity-cluster \
	    --set encoding.heredity=$$name --run runs/heredity-$$name || exit; \
	done
	$(BIN)/synevo evolve $(foreach name,$(HEREDITIES),$(SEEDS:%=runs/heredity-$(name)-%))
	$(BIN)/synevo report $(foreach name,$(HEREDITIES),$(SEEDS:%=runs/heredity-$(name)-%)) \
	  --against synapses --against kernels --against multiply-adds

ablations: install  ## the preset brief with one thing changed at a time, after `make brief` (needs MNIST in TFDS_DATA_DIR)
	for ablation in $(ABLATIONS); do \
	  name=$${ablation%%:*}; sets=$$(echo "--set $${ablation#*:}" | sed 's/+/ --set /g'); \
	  $(BIN)/synevo train-ancestor --preset brief --seeds "$(SEEDS)" --ancestor-of runs/brief \
	    $$sets --run runs/brief-$$name || exit; \
	done
	$(BIN)/synevo evolve $(foreach ablation,$(ABLATIONS),$(SEEDS:%=runs/brief-$(firstword $(subst :, ,$(ablation)))-%))
	$(BIN)/synevo report $(SEEDS:%=runs/brief-%) --against stored-weights \
	  $(foreach ablation,$(ABLATIONS),$(SEEDS:%=runs/brief-$(firstword $(subst :, ,$(ablation)))-%))

examples: install  ## the programs of `synevo guide examples`, with the data in the folder DATA
	@test -d "$(DATA)" || { echo "Say where the data is: make examples DATA=FOLDER (synevo guide examples)"; exit 2; }
	$(BIN)/python tests/write_examples.py $(EXAMPLES)
	for commands in $(EXAMPLES)/*.sh; do \
	  (cd $(EXAMPLES) && DATA="$(realpath $(DATA))" PATH="$(CURDIR)/$(BIN):$$PATH" sh -e $$(basename $$commands)) || exit; \
	done

bench: install  ## measure speed and memory; idle machine wanted
	$(BIN)/python tests/bench.py
	$(BIN)/python tests/bench_training.py
	$(BIN)/python tests/bench_compiling.py
	$(BIN)/python tests/bench_networks.py
	$(BIN)/python tests/bench_data.py
	$(BIN)/python tests/bench_heredity.py

halving: install  ## selection among candidates, beside the same epochs for one offspring (HALVING="--seeds 0"; hours)
	$(BIN)/python tests/bench_halving.py $(HALVING)

shapes: install  ## compact ten published networks, in their own sizes (SHAPES=--small: in small ones)
	$(BIN)/python tests/bench_published.py $(SHAPES)

analysis: install  ## what dissection, proof and synthesis cost from 10^5 to 10^8 parameters, and how it grows
	$(BIN)/python tests/bench_analysis.py

$(PEER)/.installed:
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet torch numpy torch-pruning==1.6.1
	@touch $@

peer: install $(PEER)/.installed  ## Torch-Pruning on equal terms with RUNS, those of `make brief` (downloads 3 GB; needs MNIST in TFDS_DATA_DIR)
	$(BIN)/python tests/bench_peer.py --runs $(RUNS) --torch $(PEER)/bin/python

cfiles: install  ## compile and check the C files of all ancestors and of users' networks (NETWORKS="lenet5 Sensors")
	$(BIN)/python tests/bench_c.py $(NETWORKS)

hosts: install  ## the same lineage on several devices and hosts, and hosts that are killed: two tables
	$(BIN)/python tests/bench_hosts.py

fuzz: install  ## compact random architectures by the thousand (CASES=3000)
	SYNEVO_FUZZ=$(CASES) $(BIN)/python -m pytest tests/wiring/test_wiring_real.py -k random_architectures

installs: install  ## install the wheel in every Python, with the oldest and the newest JAX, and walk the main path there
	$(BIN)/python tests/installs.py

extras: install  ## what synevo, each of its dependencies and each extra bring and weigh (downloads 5 GB)
	$(BIN)/python tests/installs.py --extras

clean:  ## remove what was installed and built, not the runs
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
