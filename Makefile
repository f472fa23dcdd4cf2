# Two commands on a fresh machine: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DVH_JUDGE := dicompyler-core-0.5.6
DEBIAN := dicom3tools dcmtk plastimatch chromium orthanc

.PHONY: demo test environment debian lint types clean

demo: environment
	@bash examples/demo.sh $(BIN)/recontour

# One thread for each of the two test processes: threads that wait for a core cost more than they bring.
test: export OMP_NUM_THREADS = 1
test: export OMP_WAIT_POLICY = PASSIVE
test: export ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS = 1
test: environment debian lint types $(VENV)/share/$(DVH_JUDGE)
	$(BIN)/pytest -n 2 --dist loadfile

environment: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

# A judge of dose-volume histograms, with its own test data. Unpacked, not installed: it holds a package called tests.
$(VENV)/share/$(DVH_JUDGE): | environment
	mkdir -p $(VENV)/share
	$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: $(subst core-,core==,$(DVH_JUDGE)) -d $(VENV)/share
	tar xzf $(VENV)/share/$(DVH_JUDGE).tar.gz -C $(VENV)/share

# Judges that the tests call: dciodvfy (dicom3tools), dcmtk, plastimatch; chromium shows the report's page; orthanc is an
# archive to talk to.
debian:
	@missing=""; for p in $(DEBIAN); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq $$missing >/dev/null; \
	else echo "Some tests skip. To run them all: sudo apt-get install$$missing"; fi

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: environment
	$(BIN)/pyright

clean:
	rm -rf $(VENV) demo build dist *.egg-info
