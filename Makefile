# A thin front for meson: every target is one or two commands that can be typed by hand.
BUILD ?= build
T ?= 60
PYTHON := /usr/bin/python3
RUN_TESTS := $(PYTHON) tools/run_tests.py
CLANG_FORMAT := clang-format-14
# One moving line on a terminal, only warnings and errors elsewhere.
NINJA := q=--quiet; [ -t 1 ] && q=; ninja $$q

.PHONY: all deps check asan tsan interop bench bench-peers fuzz format clean help

all: $(BUILD)/build.ninja ## build/sluice and build/sluicectl
	@$(NINJA) -C $(BUILD) programs

# Installs nothing: names the missing packages and stops.
$(BUILD)/build.ninja:
	@tools/deps.sh --check build
	@meson setup $(BUILD) $(MESON_ARGS) >$(BUILD)-setup.log 2>&1 || { cat $(BUILD)-setup.log; rm -f $(BUILD)-setup.log; exit 1; }
	@rm -f $(BUILD)-setup.log

deps: ## install the Debian packages of packages.txt that are missing
	@tools/deps.sh

# All core tests, guards included; the last line is "N passed, N failed, N skipped".
check: all ## all core tests, guards included
	@tools/deps.sh --check test || echo "tests of what is missing are skipped or fail"
	@$(NINJA) -C $(BUILD)
	@$(RUN_TESTS) --no-suite interop $(BUILD)

asan tsan: ## the same tests under sanitizers, with clang
	@tools/deps.sh --check build test
	@test -f $(BUILD)-$@/build.ninja || meson setup --native-file tools/meson/$@.ini $(MESON_ARGS) $(BUILD)-$@ >/dev/null
	@$(NINJA) -C $(BUILD)-$@
	@$(RUN_TESTS) --no-suite interop $(BUILD)-$@

# Clients and definitions that are fetched from their registries; needs the network the first time.
interop: all ## clients and definitions fetched from their registries
	@$(NINJA) -C $(BUILD)
	@$(RUN_TESTS) --suite interop $(BUILD)

bench: release ## throughput, latency, memory, beside the machine's limits
	@$(PYTHON) bench/run.py --build build-release

bench-peers: release ## the same load on Sluice and on Kafka
	@$(PYTHON) bench/run.py --build build-release --peers

.PHONY: release static
static: ## build-static/sluice, without shared libraries
	@tools/deps.sh --check build static
	@test -f build-static/build.ninja || meson setup --native-file tools/meson/release.ini -Dstatic=true build-static >/dev/null
	@$(NINJA) -C build-static sluice sluicectl

release: ## build-release/sluice, optimized
	@tools/deps.sh --check build
	@test -f build-release/build.ninja || meson setup --native-file tools/meson/release.ini build-release >/dev/null
	@$(NINJA) -C build-release programs load-programs

# D2: kill -9 at N system calls under live load (make check does 100).
.PHONY: kill-points
kill-points: all ## kill -9 at N system calls under live load [N=1000 SEED=1]
	@SLUICE=$(BUILD)/sluice $(PYTHON) tests/crash/kill_at_syscall.py --points $(or $(N),1000) --seed $(or $(SEED),1)

# D1, D8: at least N crash states of files, metastore and log engine in simulated worlds (make check does 20,000).
# New seeds each time; a failure prints the one that repeats it.
CRASH_TESTS := test_sim_meta_crash test_sim_storage_crash test_storage_crash
.PHONY: crash-states
crash-states: all ## at least N crash states [N=1000000 SEED=...]
	@$(NINJA) -C $(BUILD) $(addprefix tests/,$(CRASH_TESTS))
	@for t in $(CRASH_TESTS); do \
		CRASH_STATES=$$(($(or $(N),1000000) / 6)) CRASH_SEED=$(or $(SEED),$$(date +%s)) $(BUILD)/tests/$$t || exit 1; \
	done

# D6: N flipped bits (make check does 5,000).
.PHONY: bit-flips
bit-flips: all
	@ninja -C $(BUILD) tests/test_storage_damage >/dev/null
	@FLIPS=$(or $(N),100000) $(BUILD)/tests/test_storage_damage

# T seconds for each target; what it finds stays in build-fuzz/corpus, seeds are in fuzz/corpus.
fuzz: ## T seconds for each parser [T=60]
	@tools/deps.sh --check build test
	@test -f build-fuzz/build.ninja || meson setup --native-file tools/meson/asan.ini -Dfuzz=true build-fuzz >/dev/null
	@$(NINJA) -C build-fuzz
	@tools/fuzz.sh build-fuzz $(T)

format: ## clang-format on every C file
	@git ls-files -z --cached --others --exclude-standard -- 'src/*.[ch]' 'tests/*.[ch]' 'fuzz/*.[ch]' 'bench/*.[ch]' \
		| xargs -0 -r $(CLANG_FORMAT) -i

help: ## this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

clean: ## remove every build directory
	@rm -rf build build-asan build-tsan build-release build-static build-fuzz
