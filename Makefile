# Every target first makes .venv from pyproject.toml. Any Python 3.11 or newer will do:
#   make test PYTHON=python3.12
# LOCKED=1 installs exactly what requirements.lock says, each file by its hash (CI does).
# ARGS goes to the command:  make reproduce ARGS="20 -p seed=1"    make test ARGS="-k noise"
PYTHON ?= python3
ARGS ?=
BIN := $(CURDIR)/.venv/bin
STAMP := .venv/.installed

.PHONY: help reproduce lint lock test test-slow test-extras torture lab docs pictures clean

help:
	@echo "make reproduce   run every notebook on the embedded data; figures in runs/reproduce/index.html"
	@echo "make lab         open JupyterLab on the notebooks"
	@echo "make lint        style, layers and types: ruff, import-linter, mypy (half a minute)"
	@echo "make lock        renew requirements.lock (versions and hashes of what LOCKED=1 installs)"
	@echo "make test        the test suite (about ten minutes on two cores)"
	@echo "make test-slow   the tests that take longer: learning at full length, repeats, timings"
	@echo "make test-extras the tests that need libraries of the extras, in .venv-extras beside .venv"
	@echo "make torture     kills, faults of the machine, bad input and attacks by the thousand; goes on where it stopped"
	@echo "make docs        the site with executed notebooks, in build/site/html; RUNS=folder takes those executed there"
	@echo "make pictures    the README's pictures anew, from the executed notebooks"
	@echo "make clean       remove .venv and caches; data/ and runs/ stay"

reproduce: $(STAMP)
	"$(BIN)/lnl" reproduce $(ARGS)

lint: $(STAMP)
	"$(BIN)/ruff" check
	"$(BIN)/ruff" format --check
	"$(BIN)/lint-imports"
	"$(BIN)/python" -m mypy

# What LOCKED=1 installs, with versions and hashes, for every platform. A workflow renews it every month.
lock: $(STAMP)
	"$(BIN)/python" -m pip install -q --disable-pip-version-check "uv>=0.8,<1"
	"$(BIN)/uv" pip compile -q --no-config --universal --python-version 3.11 --extra test --upgrade \
	--generate-hashes --no-annotate --custom-compile-command "make lock" pyproject.toml -o requirements.lock

# WORKERS tests at a time, one thread each
WORKERS ?= 2
test: $(STAMP)
	"$(BIN)/python" -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-slow: $(STAMP)
	"$(BIN)/python" -m pytest -m slow $(ARGS)

# An environment that sees .venv, so that torch is not fetched twice, and has beside it the libraries that read back
# what the kit writes for them. Not among them: label-studio-sdk, which asks for an older numpy, trackio, which does for
# an older Pillow, wandb and fiftyone, for their size. By uv: pip takes minutes to choose among their versions.
EXTRAS := .venv-extras/.installed
READERS := onnx onnxscript onnxruntime tensorboard pycocotools "datasets>=4,<6" mlflow-skinny sqlalchemy alembic
SITE := import sysconfig; site = sysconfig.get_path("purelib"); print
test-extras: $(EXTRAS)
	.venv-extras/bin/python -m pytest -m extras $(ARGS)

$(EXTRAS): $(STAMP)
	@rm -rf .venv-extras && "$(BIN)/python" -m venv --without-pip .venv-extras
	@"$(BIN)/python" -c '$(SITE)(f"import site; site.addsitedir({site!r})")' > \
	"$$(.venv-extras/bin/python -c '$(SITE)(site)')/beside.pth"
	@"$(BIN)/python" -m pip install -q --disable-pip-version-check "uv>=0.8,<1"
	@"$(BIN)/uv" pip freeze --python "$(BIN)/python" 2>/dev/null | \
	grep -E '^(torch|torchvision|numpy|pillow|pandas|scipy|pyarrow)==' > .venv-extras/constraints.txt
	@"$(BIN)/uv" pip install -q --python .venv-extras/bin/python -c .venv-extras/constraints.txt $(READERS)
	@touch $@

# TORTURE=quick: three minutes in all, from another seed each time; nothing is kept
torture: $(STAMP)
	TORTURE=$(TORTURE) "$(BIN)/python" tests/torture $(ARGS)

lab: $(STAMP)
	cd notebooks && "$(BIN)/jupyter" lab $(ARGS)

# RUNS: a folder that lnl reproduce has written; without it the notebooks are executed first (finished ones are kept)
RUNS ?=
docs: .venv/.docs
	$(if $(RUNS),,"$(BIN)/lnl" reproduce)
	"$(BIN)/python" -m lnl_kit.site $(if $(RUNS),--runs "$(RUNS)") $(ARGS)

pictures: $(STAMP)
	$(if $(RUNS),,"$(BIN)/lnl" reproduce 20 23 30 40)
	"$(BIN)/python" -m lnl_kit.site.pictures $(if $(RUNS),"$(RUNS)")

.venv/.docs: $(STAMP)
	"$(BIN)/python" -m pip install -q --disable-pip-version-check -e ".[docs]"
	@touch $@

# A virtual environment without pip (Debian's python3 without python3-venv) gets pip from the outside.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "Python 3.11 or newer is needed, but \
	$(PYTHON) is %d.%d: make PYTHON=python3.12 (or another) uses another one" % v[:2])'
	@"$(BIN)/python" -m pip --version >/dev/null 2>&1 || { rm -rf .venv; $(PYTHON) -m venv .venv >/dev/null 2>&1; } \
	|| { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python "$(BIN)/python" install -q pip; } \
	|| { rm -rf .venv; $(PYTHON) -m virtualenv -q .venv; } \
	|| { rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian, Ubuntu: \
	apt-get install python3-venv) and run make again"; exit 1; }
	@echo "installing lnl-kit into .venv (the first time this downloads PyTorch: some minutes)"
	@if [ -n "$(LOCKED)" ]; then \
	"$(BIN)/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock && \
	"$(BIN)/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .; else \
	"$(BIN)/python" -m pip install -q --disable-pip-version-check -e ".[test]"; fi
	@touch $@

clean:
	rm -rf .venv .venv-extras build *.egg-info .pytest_cache
	find . -name __pycache__ -prune -exec rm -rf {} + -o -name .ipynb_checkpoints -prune -exec rm -rf {} +
