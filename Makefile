# Two commands: `make reproduce` (environment, then the study) and `make test`. SpiRit-LM: `make reproduce-spiritlm`.

PYTHON ?= python3
ENV := env
JOBS ?= 2
MUTANTS ?= 20000
ROUNDS ?= 200
SEED ?= 1
# Only its weights are read; what it asks for (torchaudio) is not needed.
FCPE := torchfcpe==0.0.4
SPIRITLM := main.tape -C configs/spiritlm_mini.tconf

.PHONY: help env reproduce reproduce-spiritlm readme check-results test test-all smoke lint bench fuzz torture clean

help:
	@echo "make reproduce      build the environment, run the mini study, write results/"
	@echo "make reproduce-spiritlm  the same for the small SpiRit-LM study, write results/spiritlm/"
	@echo "make check-results  compare results with what the studies must show"
	@echo "make test           fast tests and the smoke profile end to end"
	@echo "make test-all       the slow tests too"
	@echo "make bench          benchmarks, into benchmarks/results/"
	@echo "make fuzz           mutants of tapes through the language (MUTANTS=20000 SEED=1)"
	@echo "make torture        kill runs at random instants and look at what is left (ROUNDS=200 SEED=1)"
	@echo "make clean          remove out/ (results/ stays)"

env: $(ENV)/.complete

# The marker is written last: an environment that was interrupted is built again.
$(ENV)/.complete: requirements.txt requirements-spiritlm.txt requirements-test.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed"; echo "hint: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "error: this Python cannot create environments"; echo "hint: apt-get install -y python3-venv"; exit 1; }
	rm -rf $(ENV)
	$(PYTHON) -m venv $(ENV)
	$(ENV)/bin/python -m pip install -q --disable-pip-version-check -r requirements.txt -r requirements-spiritlm.txt \
	  -r requirements-test.txt -c constraints.txt
	$(ENV)/bin/python -m pip install -q --disable-pip-version-check --no-deps $(FCPE)
	$(ENV)/bin/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

# Results that were deleted are published again; the engine only knows what its tasks wrote in their own directories.
reproduce: $(ENV)/.complete
	@test -e results/scores.csv || $(ENV)/bin/ducttape main.tape -y invalidate publish 2>/dev/null || true
	$(ENV)/bin/ducttape main.tape -y -j $(JOBS)
	@$(ENV)/bin/ducttape main.tape report --json | $(ENV)/bin/python scripts/results_run.py --report - --out results

reproduce-spiritlm: $(ENV)/.complete
	@test -e results/spiritlm/measures.jsonl || $(ENV)/bin/ducttape $(SPIRITLM) -y invalidate spiritlm_publish 2>/dev/null || true
	$(ENV)/bin/ducttape $(SPIRITLM) -y -j $(JOBS)
	@$(ENV)/bin/ducttape $(SPIRITLM) report --json | $(ENV)/bin/python scripts/results_run.py --report - --out results/spiritlm

readme: $(ENV)/.complete
	$(ENV)/bin/python scripts/results_readme.py --table results/ablations.md --readme README.md

check-results: $(ENV)/.complete
	$(ENV)/bin/python scripts/results_check.py --scores results/scores.csv --report results/run.json \
	  $(if $(wildcard results/spiritlm/measures.jsonl),--spiritlm results/spiritlm)

test: $(ENV)/.complete
	$(ENV)/bin/python -m pytest -q -n 3
	$(ENV)/bin/python -m pytest -q -m smoke

test-all: $(ENV)/.complete
	$(ENV)/bin/python -m pytest -q -m ''

smoke: $(ENV)/.complete
	$(ENV)/bin/ducttape main.tape -C configs/smoke.tconf -y -j $(JOBS)

lint: $(ENV)/.complete
	$(ENV)/bin/ruff check src scripts tests benchmarks
	$(ENV)/bin/ducttape main.tape fmt --check label.tape corpora.tape tasks/*.tape tapes/*.tape configs/*.tconf
	$(ENV)/bin/ducttape main.tape check
	$(ENV)/bin/ducttape $(SPIRITLM) check
	$(ENV)/bin/ducttape label.tape check
	$(ENV)/bin/ducttape corpora.tape check

bench: $(ENV)/.complete
	$(ENV)/bin/python benchmarks/engine.py
	$(ENV)/bin/python benchmarks/slurm.py
	$(ENV)/bin/python benchmarks/units.py
	$(ENV)/bin/python benchmarks/kmeans.py
	$(ENV)/bin/python benchmarks/training.py
	$(ENV)/bin/python benchmarks/decoding.py
	$(ENV)/bin/python benchmarks/scoring.py
	$(ENV)/bin/python benchmarks/report.py
	$(ENV)/bin/python benchmarks/spiritlm.py

fuzz: $(ENV)/.complete
	nice $(ENV)/bin/python benchmarks/fuzz_syntax.py $(MUTANTS) --seed $(SEED) --save out/fuzz

torture: $(ENV)/.complete
	$(ENV)/bin/python benchmarks/torture.py --rounds $(ROUNDS) --seed $(SEED)

clean:
	rm -rf out
