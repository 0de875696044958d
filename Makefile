PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check -q

.PHONY: demo test fuzz lint types bench clean

# Upscale a real photograph with the weights that come with Vernier; installs no torch.
demo: $(VENV)/installed
	mkdir -p out
	$(VENV)/bin/vernier upscale examples/astronaut.png -o out/astronaut-x2.png

# Tests that need the shared benchmark pictures find them through VERNIER_SHARED. A file's tests stay
# in one process, and the files are spread over the processors; real signals want a process alone.
SIGNALS := tests/training/test_interrupts.py
test: $(VENV)/installed-dev
	$(VENV)/bin/python -m pytest $(SIGNALS)
	$(VENV)/bin/python -m pytest -n logical --dist loadfile --ignore $(SIGNALS)

# The property tests on draws that no run before has seen.
fuzz: $(VENV)/installed-dev
	HYPOTHESIS_PROFILE=fuzz $(VENV)/bin/python -m pytest -m hypothesis

lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-cache

types: $(VENV)/installed-dev
	$(VENV)/bin/mypy

# Wants a quiet machine.
bench: $(VENV)/installed-dev
	$(VENV)/bin/python -m benchmarks --output docs/benchmarks.md --json benchmarks/results.json

clean:
	rm -rf $(VENV) out

$(VENV)/created:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/created pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/installed
