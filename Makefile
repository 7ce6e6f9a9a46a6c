# Every target makes its own environment in .venv; nothing else needs installing first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint unit bench clean

demo: .venv/installed  ## the main job on an embedded default; no network after the install
	$(BIN)/datainf demo

test: lint unit  ## what CI runs

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: .venv/installed
	$(BIN)/pytest -n 2 -q

bench: .venv/installed  ## needs data: make bench SST2=folder GSM8K=folder; see benchmarks/README.md
	$(BIN)/python benchmarks/sst2.py --data $(SST2)
	$(BIN)/python benchmarks/gsm8k.py --data $(GSM8K)

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv datainf-demo
