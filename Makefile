# make reproduce · test · hostile · lab · app · site · paper · paper-check · gpu · clean. Each sets up its own environment in .venv first; needs Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
ENV := .venv/installed
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
EXTRA_KEYS := metadata.papermill metadata.widgets cell.metadata.papermill

.PHONY: reproduce test hostile lab app site paper paper-check gpu notebooks-committed clean

$(ENV): pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed, this is ' + sys.version)"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --editable ".[notebooks,dev]"
	touch $@

# Run every notebook in a profile of notebooks/profiles; the executed copies go to build/, pictures to figures/.
define run_notebooks
	@mkdir -p build/$(1)
	@for notebook in $(notdir $(NOTEBOOKS)); do \
		echo "== $$notebook"; \
		$(BIN)/papermill notebooks/$$notebook build/$(1)/$$notebook --cwd notebooks --kernel python3 \
			--parameters_file notebooks/profiles/$(1).yaml $(2) || exit 1; \
	done
	@echo; echo "Executed notebooks, to read, in build/$(1)/:"; ls build/$(1)
	@echo "Pictures in figures/:"; ls figures
endef

reproduce: $(ENV)
	$(call run_notebooks,fast,--execution-timeout 600)

# The runs of the table, the controls and house numbers, one after the other, each on all cores, or with WORKERS=N as
# many at once, each on one core. Or one run, of these or of the studies: make paper ROW=dcn-k8-hints SEED=1
# (EPOCHS=12), ROW=fixed-coarse SEED=0, ROW=draw; PRECISION=float32 where the processor has no bfloat16.
ROW :=
SEED :=
PRECISION :=
EPOCHS := $(if $(filter %fine,$(ROW)),12,30)
# Without this, glibc gives a step's large tensors back to the kernel, which clears the same memory for the next step.
paper: export GLIBC_TUNABLES ?= glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184
paper: $(ENV)
ifneq ($(ROW),)
	$(BIN)/python -m dcnlib experiment $(ROW)$(if $(SEED),-$(EPOCHS)-seed$(SEED)) $(if $(PRECISION),--precision $(PRECISION))
else
	$(BIN)/python -m dcnlib $(if $(WORKERS),sweep runs --experiments all --workers $(WORKERS),experiment all)
	$(call run_notebooks,paper,)
	@echo "Finished runs lie in runs/; '$(BIN)/python -m dcnlib promote runs/NAME' makes one the project's record."
endif

# Every shipped weight against its record.
paper-check: $(ENV)
	$(BIN)/python -m dcnlib check

# What a machine with a GPU says, in nine minutes; without make and pip there: python3 -m dcnlib.cli.gpu --help.
gpu: $(ENV)
	$(BIN)/python -m dcnlib.cli.gpu

# Two processes of tests, each with one thread: two of two threads get in each other's way. One that dies ends it all.
test: $(ENV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/nbstripout --verify --keep-output --keep-count --extra-keys "$(EXTRA_KEYS)" $(NOTEBOOKS)
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --max-worker-restart 0 --dist loadfile --nbval --nbval-cell-timeout 600 --durations 25 tests notebooks

# Thousands of damaged files of every kind that the library reads, and attacks by hand, under limits of time and memory.
CASES ?= 10000
hostile: $(ENV)
	PYTHONPATH=tests $(BIN)/python -m hostile --attacks
	PYTHONPATH=tests $(BIN)/python -m hostile --cases $(CASES)

lab: $(ENV)
	$(BIN)/jupyter lab notebooks

# The explorer as a web page, for this machine alone.
app: $(ENV)
	$(BIN)/python -m dcnlib explore

# The documentation and the explorer that needs no Python, as static files in build/site. Needs npm.
NPM_INSTALLED := site/node_modules/.package-lock.json
site: $(ENV) $(NPM_INSTALLED)
	$(BIN)/python site/build.py build/site

$(NPM_INSTALLED): site/package.json site/package-lock.json
	npm ci --prefix site --ignore-scripts --no-audit --no-fund

# Before a commit: run the notebooks as they stand, and strip what changes from run to run. One that fails stays as it is.
notebooks-committed: $(ENV)
	@mkdir -p build/committed
	@for notebook in $(NOTEBOOKS); do \
		ran=build/committed/$$(basename $$notebook); \
		$(BIN)/papermill $$notebook $$ran --cwd notebooks --kernel python3 --execution-timeout 600 || exit 1; \
		$(BIN)/nbstripout --keep-output --keep-count --extra-keys "$(EXTRA_KEYS)" $$ran || exit 1; \
		mv $$ran $$notebook || exit 1; \
	done

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
