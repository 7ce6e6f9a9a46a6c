# Every target makes its own environment in .venv; nothing else needs installing first.
PYTHON ?= python3
BIN := .venv/bin
QUIET := --quiet --disable-pip-version-check
INSTALL := $(BIN)/python -m pip install $(QUIET) -c constraints.txt
# Pins what builds the wheel too, which pip puts into an environment of its own.
BUILD := PIP_CONSTRAINT=constraints.txt

.PHONY: demo test support gpu lint unit tutorials quanda remote wheel sbom licences locks audit lowest newest
.PHONY: reliability bench results experiments experiments-quick clean

demo: .venv/installed  ## the main job on an embedded default; no network after the install
	$(BIN)/datainf demo

test: lint unit  ## what CI runs

support: .venv/tested  ## docs/support.md: every adapter on every base and task, by trying it
	$(BIN)/python scripts/support_table.py

gpu: .venv/tested  ## what only a machine with a GPU can show; torch in .venv must be a CUDA build
	$(BIN)/pytest -q tests/gpu tests/bases
	$(BIN)/python -m benchmarks.qlora
	$(BIN)/python -m benchmarks.gpu

lint: .venv/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/licences.py

unit: .venv/tested
	$(BIN)/pytest -n 2 --dist worksteal -q

tutorials: .venv/tested  ## docs/tutorials on the demos as they are; `make unit` makes these smaller
	DATAINF_WHOLE_DEMOS=1 $(BIN)/pytest -q tests/docs/test_tutorials.py

quanda: .venv-quanda/installed  ## the adapter for quanda, whose dependencies are older than ours
	.venv-quanda/bin/pytest -q tests/integrations/test_quanda.py

remote: .venv-remote/installed  ## stores at s3:// and gs://, on servers of their own; botocore wants an older python-dateutil
	.venv-remote/bin/pytest -q tests/remote tests/cli/test_urls.py

wheel: .venv/installed  ## the wheel holds the package alone, is the same from the sdist and from here, and works where nothing else is
	rm -rf dist .venv-wheel
	$(INSTALL) build
	$(BUILD) $(BIN)/python -m build --outdir dist .
	$(BUILD) $(BIN)/python -m pip wheel $(QUIET) --no-deps --wheel-dir dist/again .
	cmp dist/*.whl dist/again/*.whl
	$(PYTHON) scripts/check_wheel.py dist/*.whl dist/*.tar.gz
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install $(QUIET) -c constraints.txt "$$(echo dist/*.whl)[diffusion]"
	cd dist && ../.venv-wheel/bin/datainf demo labels --out demo-labels

sbom: wheel .venv-supply/installed  ## dist/datainf-VERSION.cdx.json, CycloneDX: what the installed wheel stands on; the same bytes each time
	.venv-supply/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --mc-type library \
		--output-file "$$(echo dist/*.tar.gz | sed s/.tar.gz//).cdx.json" .venv-wheel/bin/python

licences: .venv/tested  ## the table in docs/dependencies.md, and whether each licence is allowed
	$(BIN)/python scripts/licences.py --write

# As they were, and what is new; to move all: UPGRADE=--upgrade, to move one: UPGRADE='-P peft'.
LOCK = .venv-supply/bin/uv pip compile --quiet --no-annotate --custom-compile-command 'make locks' --python-version 3.11 pyproject.toml
locks: .venv-supply/installed  ## constraints.txt for CI, locks/release.txt with hashes, locks/lowest.txt, locks/remote.txt
	$(LOCK) --extra dev --group build --universal $(UPGRADE) --output-file constraints.txt
	$(LOCK) --extra diffusion --extra notebook --extra captum --universal --generate-hashes \
		--constraints constraints.txt --upgrade --output-file locks/release.txt
	$(LOCK) --extra test --extra captum --extra experiments --resolution lowest-direct \
		--upgrade --output-file locks/lowest.txt
	grep -v '^python-dateutil==' constraints.txt > .venv-supply/constraints.txt  # botocore wants an older one
	$(LOCK) --extra remote --extra gs --group remote --universal \
		--constraints .venv-supply/constraints.txt --upgrade --output-file locks/remote.txt

audit: .venv-supply/installed  ## known vulnerabilities of the pins and of the lowest versions; fails where it could not ask. AUDIT='-s osv' asks OSV
	failed=0; for lock in constraints.txt locks/lowest.txt; do \
		.venv-supply/bin/pip-audit --strict --disable-pip --no-deps -r $$lock $(AUDIT) || failed=1; done; \
	[ $$failed = 0 ] || { echo "error: vulnerabilities, or no answer: see above. Only a run without this line says that there are none." >&2; exit 1; }

TESTS := tests
lowest: .venv-lowest/installed  ## the tests with the lowest versions that pyproject.toml allows, several GB: make lowest TESTS=tests/store
	.venv-lowest/bin/pytest -n 2 -q $(TESTS)

newest:  ## the tests with the newest versions of everything, several GB
	rm -rf .venv-newest
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install $(QUIET) -e '.[dev]'
	.venv-newest/bin/pytest -n 2 -q $(TESTS)

reliability: .venv/tested  ## docs/reliability.md, an hour: killed runs, flipped bits, broken files, many examples
	$(BIN)/python -m reliability.kills --moments 120
	$(BIN)/python -m reliability.kills --ranks 2 --moments 40
	$(BIN)/python -m reliability.kills --ranks 4 --moments 20
	$(BIN)/python -m reliability.scoring --moments 60
	$(BIN)/python -m reliability.again --runs 6
	$(BIN)/python -m reliability.again --runs 3 --ranks 2
	$(BIN)/python -m reliability.nodes --moments 8
	$(BIN)/python -m reliability.flips --flips 2000
	$(BIN)/python -m reliability.fuzz --cases 100000
	$(BIN)/python -m reliability.guided --runs 20000
	$(BIN)/python -m reliability.soak --rows 100000
	$(BIN)/python -m reliability

bench: .venv/tested  ## needs data: make bench SST2=folder GSM8K=folder; see benchmarks/README.md
	$(BIN)/python -m benchmarks.sst2 --data $(SST2)
	$(BIN)/python -m benchmarks.cleaning --data $(SST2)
	$(BIN)/python -m benchmarks.gsm8k --data $(GSM8K)
	$(BIN)/python -m benchmarks.adapters --data $(SST2)
	$(BIN)/python -m benchmarks.scoring --data $(SST2)

results: .venv/tested  ## benchmarks/RESULTS.md, an hour, more than three with ENVS: make results GLUE=folder ENVS=folder (other tools)
	$(if $(GLUE),,$(error make results GLUE=folder with SST-2/ and MRPC/))
	$(BIN)/python -m benchmarks --data $(GLUE) $(if $(ENVS),--envs $(ENVS))

experiments: .venv/tested  ## the paper at desk scale, hours; goes on where it was: make experiments DATA=folder
	$(BIN)/python -m experiments run --data $(DATA)

experiments-quick: .venv/tested  ## a cut of each experiment in minutes, anew, on data that is made up
	rm -rf experiments/results/quick
	$(BIN)/python -m experiments run --scale quick
	$(BIN)/python -m experiments check adapters --scale quick  # the same cell gives the same figures

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) -e .
	touch $@

.venv/tested: .venv/installed
	$(INSTALL) -e '.[dev]'
	touch $@

.venv-quanda/installed: pyproject.toml
	$(PYTHON) -m venv .venv-quanda
	.venv-quanda/bin/python -m pip install $(QUIET) -e '.[quanda]' pytest
	touch $@

.venv-lowest/installed: locks/lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install $(QUIET) -c locks/lowest.txt -e '.[test,captum,experiments]'
	touch $@

.venv-supply/installed: pyproject.toml
	$(PYTHON) -m venv .venv-supply
	.venv-supply/bin/python -m pip install $(QUIET) --upgrade 'pip>=25.1'  # which knows groups
	.venv-supply/bin/python -m pip install $(QUIET) --group supply
	touch $@

.venv-remote/installed: locks/remote.txt
	$(PYTHON) -m venv .venv-remote
	.venv-remote/bin/python -m pip install $(QUIET) --upgrade 'pip>=25.1'  # which knows groups
	.venv-remote/bin/python -m pip install $(QUIET) -c locks/remote.txt -e '.[remote,gs]' --group remote
	touch $@

clean:
	rm -rf .venv .venv-quanda .venv-remote .venv-wheel .venv-supply .venv-lowest .venv-newest dist datainf-demo datainf-demo-labels datainf-demo-images
