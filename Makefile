PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data
DEMO ?= demo-out
REAL ?= real-out

.PHONY: help setup demo real docs test test-slow test-s3 lint clean

help:
	@echo "make setup      make .venv with everything"
	@echo "make demo       simulate, build, train and evaluate; figures in $(DEMO)/report.html (DEMO=folder)"
	@echo "make real       the same way over real files (DATA=folder, default $(DATA))"
	@echo "make docs       the documentation as a site, in build/site (open index.html)"
	@echo "make test       lint, types, import rules and tests, under 10 minutes on 2 cores"
	@echo "make test-slow  the tests that take minutes each"
	@echo "make test-s3    the tests that need an S3 server, on one that is started for them (Ceph's radosgw)"

setup: $(VENV)/.ready

# torch first: the lines after it then find it installed and look for no other build.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/featurestore demo --out $(DEMO)

real: setup
	BIN=$(BIN) sh docs/real.sh $(DATA) $(REAL)

# Strict: a link or an anchor that leads nowhere is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -m 'not slow' -n 2 --dist loadfile

SLOW ?= slow
test-slow: setup
	$(BIN)/pytest -m '$(SLOW)' -n 2 --dist loadfile

S3 ?= /tmp/featurestore-s3
test-s3: setup
	@$(BIN)/python tests/support/s3_server.py start $(S3) 9300 > $(S3).env || { rm -f $(S3).env; exit 1; }
	@. $(S3).env; $(BIN)/pytest tests/featurestore/objects/test_s3.py tests/builders/test_faults.py tests/catalog/fasta tests/featurestore/upkeep/test_transfer.py \
		tests/builders/overlays/test_overlay_builds.py \
		tests/featurestore/web/serving/test_s3.py tests/catalog/test_registry.py tests/featurestore/objects/test_credentials.py; status=$$?; \
		$(BIN)/python tests/support/s3_server.py stop $(S3) --wipe; rm -f $(S3).env; exit $$status

clean:
	rm -rf $(DEMO) $(REAL)
