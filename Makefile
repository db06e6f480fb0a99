# make demo   fill the hole of the example photograph; says where the result is
# make test   run the whole test suite
# make lint   format and type checks
# make wheel  build the wheel into dist/ and audit its binary interface
# make bench  measure everything into benchmarks/results and draw it into docs/images; BENCH="match vote" for some
# make evidence  fill and compare everything that the documents show again, then make tables; an hour on two cores.
#                PAIRS=FOLDER compares on the photographs of a folder as well
# make tables draw, and fill in the tables of the documents, from what benchmarks/results holds
# make docs   build the site of the documentation into build/docs; any warning is an error
# make gpu    on a machine with a GPU: build, test, sanitize, measure and profile; see tools/gpu.py
#
# Everything but make gpu happens in .venv, which the first call makes; later calls install again only when the build
# inputs change. make gpu uses the packages of $(PYTHON) and needs no network.

PYTHON ?= python3
# The PyTorch that everything is tested with; any from 2.10 on will do, e.g. make test TORCH="torch==2.10.0".
TORCH ?= torch==2.13.0

BIN := .venv/bin
STAMP := .venv/installed
BUILD_INPUTS := setup.py pyproject.toml $(shell find csrc -type f 2>/dev/null)

# For make evidence: a folder of photographs.
PAIRS ?=
# For make gpu: a folder of wheels that $(PYTHON) lacks, and the steps to run, all by default.
WHEELS ?=
STEPS ?=

.PHONY: demo test lint wheel bench evidence tables docs gpu clean

demo: $(STAMP)
	$(BIN)/python examples/demo.py

# Several processes of one thread each; but what measures, and the browser, each on its own.
ALONE := tests/benchmarks tests/app/test_page.py
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
test: $(STAMP)
	env OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) $(ALONE:%=--ignore %)
	$(BIN)/python -m pytest $(ALONE)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $$(find csrc tests/emulation -name '*.h' -o -name '*.cpp' -o -name '*.cu')

wheel: $(STAMP)
	rm -rf dist build/wheel
	$(BIN)/pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .
	$(BIN)/abi3audit --strict dist/*.whl
	$(BIN)/python -m zipfile -e dist/*.whl build/wheel
	$(BIN)/torch-abi-audit --check both build/wheel/neuralpatch_cuda/_C.abi3.so

bench: $(STAMP)
	$(BIN)/python -m benchmarks.run $(BENCH)
	$(MAKE) tables

evidence: $(STAMP)
	$(BIN)/python -m benchmarks.evidence $(if $(PAIRS),--pairs "$(PAIRS)")
	$(MAKE) tables

tables: $(STAMP)
	$(BIN)/python benchmarks/plot.py
	$(BIN)/python -m benchmarks.plot_high_resolution
	$(BIN)/python -m benchmarks.page
	$(BIN)/python -m benchmarks.documents

docs: $(STAMP)
	$(BIN)/sphinx-build -q -W --keep-going docs build/docs

gpu:
	@$(PYTHON) -m tools.gpu $(if $(WHEELS),--wheels "$(WHEELS)") $(if $(STEPS),--steps $(STEPS))

$(STAMP): $(BUILD_INPUTS)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "setuptools>=77" ninja $(TORCH)
	$(BIN)/pip install --quiet --no-build-isolation --editable ".[dev]"
	touch $(STAMP)

clean:
	rm -rf .venv build dist demo *.egg-info neuralpatch_cuda/*.so
