# What one does here, by name. `make` alone lists it.

CARGO ?= cargo
NEXTEST_VERSION := 0.9.148
DENY_VERSION := 0.20.2
CYCLONEDX_VERSION := 0.5.9
FUZZ_VERSION := 0.13.2
# libFuzzer's counters are a compiler option that stable Rust has, behind this switch; there is no unsafe code to sanitise.
FUZZ_TARGETS := mail archive xml tls_rpt failure
FUZZ := RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --sanitizer none

# Cargo's subcommands of these checks, where the machine has none of its own. As a ready-made wheel if there is one: to
# compile them takes longer than all the tests.
TOOLS := $(CURDIR)/target/tools/cargo
export PATH := $(PATH):$(TOOLS)/bin
install = command -v cargo-$(1) >/dev/null || \
  { python3 -m venv $(TOOLS) && $(TOOLS)/bin/pip install -q astral-dev-toolchain-cargo-$(1)==$(2); } || \
  $(CARGO) install --locked --root $(TOOLS) cargo-$(1)@$(2)

.PHONY: help check lint test test-fast tools vrl arm64 soak flood bench doc deny fuzz demo servers dist image sbom k8s helm
.PHONY: release release-prepare release-build

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

check: lint test vrl doc deny ## everything that has to pass before a merge

# The fuzz targets are looked at as they are: libFuzzer, which wants a C++ compiler, is not built.
lint: ## formatting and clippy, also of the fuzz targets; warnings are errors
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	CUSTOM_LIBFUZZER_PATH=/not/linked.a CARGO_TARGET_DIR=target $(CARGO) clippy --locked --manifest-path fuzz/Cargo.toml -- -D warnings

test: servers ## all tests, against real servers on loopback; one that hangs is ended after ten minutes (.config/nextest.toml)
	@$(call install,nextest,$(NEXTEST_VERSION))
	$(CARGO) nextest run --locked

# In one process the golden tests share what the program makes of all fixtures; in one each, they take minutes.
test-fast: ## most tests that need no server and no root, without those that try many thousand inputs; half a minute once compiled
	@$(call install,nextest,$(NEXTEST_VERSION))
	$(CARGO) nextest run --locked --profile fast
	$(CARGO) test --locked --test it -- golden::

tools: servers ## install cargo-nextest and cargo-deny where they are missing
	@$(call install,nextest,$(NEXTEST_VERSION))
	@$(call install,deny,$(DENY_VERSION))

# Apart from `make test`: from scratch, Vector's engine takes some four minutes to compile on two cores.
vrl: ## the remaps of examples/vector in Vector's own engine, on what the program sends
	$(CARGO) fmt --check --manifest-path tests/vrl/Cargo.toml
	$(CARGO) build --locked
	@$(call install,nextest,$(NEXTEST_VERSION))
	DMARC_SHIPPER="$(CURDIR)/target/debug/dmarc-shipper" CARGO_TARGET_DIR=target/vrl \
	  $(CARGO) nextest run --locked --config-file .config/nextest.toml --manifest-path tests/vrl/Cargo.toml

arm64: servers ## the program for linux/arm64 from Debian's cross compilers, its output held against this machine's under qemu; ten minutes
	tests/arm64.sh

SOAK_KILLS ?= 1000

soak: servers ## program, receivers and network killed 1,000 times each test while it ships (SOAK_KILLS), and what came of it; about 50 minutes
	SOAK_KILLS=$(SOAK_KILLS) $(CARGO) test --locked --test it -- kills_at_any_moment --nocapture

FLOOD_MAILS ?= 1000

flood: servers ## 1,000 forged and 1,000 honest mails (FLOOD_MAILS), twice: all honest ones are shipped; about an hour
	FLOOD_MAILS=$(FLOOD_MAILS) $(CARGO) test --locked --test it -- a_flood_of_forged_mails --nocapture

bench: servers ## how long the program takes over a long way, against the least that any client could; its memory with 100,000 mails
	$(CARGO) bench --locked

doc: ## the documentation builds without a warning
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

deny: ## licences, banned and duplicate packages, known vulnerabilities
	@$(call install,deny,$(DENY_VERSION))
	$(CARGO) deny --locked check --hide-inclusion-graph bans licenses sources
	@if $(CARGO) deny --locked fetch db; then \
	  $(CARGO) deny --locked check --hide-inclusion-graph --disable-fetch advisories; \
	else \
	  echo; \
	  echo "=== SKIPPED: the advisory database could not be fetched, so nothing was checked for known vulnerabilities ==="; \
	fi

FUZZ_SECONDS ?= 60
fuzz: ## each fuzz target for a minute (FUZZ_SECONDS), from the fixtures and what earlier runs found; needs a C++ compiler
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz@$(FUZZ_VERSION)
	@mkdir -p $(FUZZ_TARGETS:%=fuzz/corpus/%)
	cp tests/data/mail/*.eml tests/data/mail/*.mbox tests/data/failure/*.eml examples/mailbox/*.eml fuzz/corpus/mail
	cp $(filter-out %.ndjson,$(wildcard tests/data/container/*)) fuzz/corpus/archive
	cp tests/data/report/*.xml tests/data/value/*.xml fuzz/corpus/xml
	cp tests/data/tls_rpt/*.json fuzz/corpus/tls_rpt
	cp tests/data/failure/*.eml fuzz/corpus/failure
	@for target in $(FUZZ_TARGETS); do \
	  $(FUZZ) $$target -- -dict=fuzz/dictionaries/$$target.dict -max_len=20000 -timeout=10 -rss_limit_mb=1024 \
	    -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 || exit 1; \
	done

demo: servers ## a mailbox, the program and a syslog server, from report to log line
	$(CARGO) build --release --locked
	examples/demo/run.sh

servers: ## install Dovecot, rsyslog and syslog-ng where they are missing (root or sudo)
	@tests/install-servers.sh --check || tests/install-servers.sh

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
ENGINE ?= $(firstword $(shell command -v podman docker))
IMAGE ?= registry.example.com/dmarc-shipper
PLATFORM ?=
IMAGE_LIMIT := 15000000

# The time of the last commit, and no other: the layers of what is built twice from one commit are the same. The format is
# docker's, since OCI's carries no HEALTHCHECK; podman notes a host name in it, made up anew each time.
image: ## the container image (IMAGE, PLATFORM=linux/arm64, BUILD_IMAGE=…@sha256:…), under 15 MB
	epoch="$$(git log -1 --format=%ct)" && $(ENGINE) build --tag $(IMAGE):$(VERSION) \
	  $(if $(findstring podman,$(ENGINE)),--format docker --layers=false --timestamp $$epoch) $(if $(PLATFORM),--platform $(PLATFORM)) \
	  $(if $(BUILD_IMAGE),--build-arg BUILD_IMAGE=$(BUILD_IMAGE)) $(IMAGE_OPTIONS) \
	  --build-arg SOURCE_DATE_EPOCH=$$epoch --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION="$$(git rev-parse HEAD)" --build-arg CREATED="$$(date -u -d @$$epoch +%Y-%m-%dT%H:%M:%SZ)" .
	@size="$$($(ENGINE) image inspect --format '{{.Size}}' $(IMAGE):$(VERSION))"; echo "$$size bytes"; [ "$$size" -lt $(IMAGE_LIMIT) ]

HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')

# Static, as in the image. With --target the flags are the program's alone: macros of the compiler can't be static.
dist: ## the program as it is shipped: target/HOST/dist/dmarc-shipper; static, some minutes to compile
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --profile dist --locked --target $(HOST) --bin dmarc-shipper
	@echo target/$(HOST)/dist/dmarc-shipper

sbom: ## what is in the binary, as CycloneDX: target/dmarc-shipper.cdx.json
	@command -v cargo-cyclonedx >/dev/null || $(CARGO) install --locked cargo-cyclonedx@$(CYCLONEDX_VERSION)
	$(CARGO) cyclonedx --format json --spec-version 1.5 --no-build-deps --override-filename dmarc-shipper.cdx
	@mkdir -p target
	sed 's|path+file://$(CURDIR)#||g' dmarc-shipper.cdx.json > target/dmarc-shipper.cdx.json
	rm dmarc-shipper.cdx.json

k8s: servers ## write k8s/ anew from the chart
	UPDATE_DOCS=1 $(CARGO) test --locked --test it -- deploy::chart::manifests_in_k8s

helm: servers ## write the chart's README anew from its values
	UPDATE_DOCS=1 $(CARGO) test --locked --test it -- deploy::chart::the_charts_readme

release: ## VERSION=x.y.z: both of the following (docs/releasing.md)
	$(MAKE) release-prepare
	$(MAKE) release-build

release-prepare: servers ## VERSION=x.y.z: version and date written, committed and tagged; pushes nothing
	@[ "$(origin VERSION)" = "command line" ] || { echo "which version? make release VERSION=x.y.z" >&2; exit 1; }
	.ci/release prepare "$(VERSION)"

release-build: ## from the tag: archive, image, SBOM and checksums in target/release-artifacts
	IMAGE="$(IMAGE)" ENGINE="$(ENGINE)" .ci/release build "$(VERSION)"
