# `make demo` and `make test` work in a fresh clone. Nothing outside this folder is touched, but for Debian packages that are
# missing (installed when we are root, named otherwise).
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 8
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --retries 5 --timeout 60

# Whoever sets it pays for compiling the same modules at each start of Python.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo demo-overlay test test-quick lint check format reference coverage bench soak faults model drill fuzz dist lock audit clean

help:
	@echo 'make demo    play the walk-through of specs/ in private namespaces'
	@echo 'make demo-overlay   play examples/overlay: three hosts, one network, with Consul, etcd and ZooKeeper in turn'
	@echo 'make test    every test, in some five minutes on two cores; TEST_PATIENCE=3 gives a slow machine three times as long'
	@echo 'make test-quick   the pure tests and a handful on the kernel: what one runs after each change'
	@echo 'make lint    formatter, linter, types; make check: these and the quick tests; make format: mend what the formatter can'
	@echo 'make reference   docs/reference, the manual page and the schema, made anew from the code'
	@echo 'make coverage   every test, with branch coverage of all processes'
	@echo 'make bench   speed and memory beside ip -batch and nft -f; of names beside Docker, if that is there; many hosts'
	@echo 'make soak    ten minutes of edits, drift and kill -9 against one watcher'
	@echo 'make faults  every fault of every call to the world outside, and every death, in some twenty minutes; writes docs/reference/faults.md'
	@echo 'make model   lives of a host drawn at random, STEPS=2000 SEED=now; writes docs/reference/model.md'
	@echo 'make drill   partitions, lost hosts, killed and restored stores: histories drawn from seeds, for ten minutes; writes'
	@echo '             docs/reference/drill.md; SEED=7 TIME=3600 STORE=etcd (consul, zookeeper, all); what fails is kept as'
	@echo '             build/drill/STORE-SEED.txt: REPLAY=FILE plays it again, SHRINK=1 leaves out what it fails without'
	@echo 'make fuzz TIME=600   every border where bytes of others come in, for so many seconds; TARGET=NAME for one of them'
	@echo 'make dist    wheel, sdist, SBOM and Debian package of this commit, in build/dist; the same commit gives the same bytes'
	@echo 'make lock    .ci/locks anew from pyproject.toml; make audit: what is known against the locked versions'
	@echo 'make clean   remove what these made'

demo: .venv/run.stamp
	@$(BIN)/python -m tests.demo

demo-overlay: .venv/run.stamp
	@.ci/install-tools setpriv:util-linux
	@tests/kv_servers/install.sh
	@$(BIN)/python -m tests.demo_overlay

# Each worker plays a machine of its own, and most tests wait for packets: more workers than cores. .ci/run does the same.
test: .venv/dev.stamp
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

# Properties are tried on few examples here.
test-quick: .venv/dev.stamp
	$(BIN)/python -m pytest -q -n 4 --dist loadgroup --no-loadscope-reorder -m 'not long and (quick or not kernel)' --hypothesis-profile=quick

lint: .venv/dev.stamp
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

check: lint test-quick

# Processes that SIGKILL ends tell nothing. Coverage makes everything two or three times slower.
coverage: .venv/dev.stamp
	rm -rf build/coverage && mkdir -p build/coverage
	TEST_PATIENCE=$${TEST_PATIENCE:-3} $(BIN)/python -m coverage run -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered --sort=cover

format: .venv/dev.stamp
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

reference: .venv/dev.stamp
	$(BIN)/python -m tests.reference
	$(BIN)/reconcile manual > examples/man/reconcile.1
	$(BIN)/reconcile schema > schemas/reconciler.schema.json

bench: .venv/run.stamp
	@.ci/install-tools dnsperf:dnsperf
	@tests/kv_servers/install.sh
	@status=0; for part in bench bench.watching bench.bench_edit bench.bench_dns bench.bench_ports bench.bench_overlay \
		bench.bench_cluster; do \
		$(BIN)/python -m tests.$$part || status=1; done; exit $$status

soak: .venv/run.stamp
	@$(BIN)/python -m tests.soak

faults: .venv/dev.stamp
	rm -rf build/faults
	FAULTS=all $(BIN)/python -m pytest -q tests/faults tests/kernel -k 'test_faults or killed_anywhere' -n 4
	@$(BIN)/python -m tests.faults

model: .venv/dev.stamp
	@$(BIN)/python -m tests.model $(or $(STEPS),2000) $(or $(SEED),$$(date +%s))

drill: .venv/run.stamp
	@.ci/install-tools setpriv:util-linux
	@tests/kv_servers/install.sh
	@$(BIN)/python -m tests.drill $(if $(SHRINK),--shrink) $(if $(REPLAY),--replay $(REPLAY), \
		--page --store $(or $(STORE),all) --time $(or $(TIME),600) $(if $(SEED),--seed $(SEED)))

# Findings are files below build/fuzz/findings, which `python -m tests.fuzz --replay TARGET FILE` plays again.
fuzz: .venv/fuzz.stamp
	rm -rf build/fuzz/findings
	@$(BIN)/python -m tests.fuzz --time $(or $(TIME),600) $(if $(TARGET),--target '$(TARGET)')
	@$(if $(TARGET),,$(BIN)/python -m tests.fuzz --table)

dist: .venv/dev.stamp
	@$(BIN)/python .ci/dist.py build/dist

lock: build/tools.stamp
	@.ci/lock --upgrade

audit: build/tools.stamp
	@for lock in service dev fuzz build tools; do \
		build/tools/bin/pip-audit --require-hashes --disable-pip --strict --requirement .ci/locks/$$lock.txt || exit 1; done

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/run.stamp: pyproject.toml .ci/locks/service.txt .ci/locks/build.txt
	@.ci/install-tools
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --require-hashes -r .ci/locks/service.txt -r .ci/locks/build.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: pyproject.toml .ci/locks/dev.txt .ci/locks/build.txt
	@.ci/install-tools curl:curl dig:bind9-dnsutils busybox:busybox-static dnsperf:dnsperf gcc:gcc musl-gcc:musl-tools \
		gpg:gnupg ssh-keygen:openssh-client systemd-analyze:systemd setpriv:util-linux \
		chromium:chromium chromedriver:chromium-driver
	@tests/kv_servers/install.sh
	@tests/container_engines/install.sh
	@tests/release/install.sh
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --require-hashes -r .ci/locks/dev.txt -r .ci/locks/build.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip --disable-pip-version-check download --quiet --require-hashes --only-binary=:all: --dest build/wheels \
		-r .ci/locks/service.txt
	@# Collecting compiles modules: once, here, else all workers do it at once.
	@$(BIN)/python -m pytest -q --collect-only tests/kernel tests/contracts >/dev/null & \
		$(BIN)/python -m pytest -q --collect-only --ignore=tests/kernel --ignore=tests/contracts >/dev/null; wait
	@touch $@ .venv/run.stamp

.venv/fuzz.stamp: .venv/dev.stamp .ci/locks/fuzz.txt
	$(PIP) --require-hashes -r .ci/locks/fuzz.txt
	@touch $@

build/tools.stamp: .ci/locks/tools.txt
	@$(PYTHON) -m venv build/tools
	@build/tools/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	@touch $@
