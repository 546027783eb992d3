# What one does here, by name. `make` alone lists it.

CARGO ?= cargo
DENY_VERSION := 0.20.2
FUZZ_VERSION := 0.13.2
# libFuzzer's counters are a compiler option that stable Rust has, behind this switch; there is no unsafe code to sanitise.
FUZZ_TARGETS := mail archive xml tls_rpt failure
FUZZ := RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --sanitizer none

.PHONY: help check lint test vrl soak doc deny fuzz demo servers

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

check: lint test vrl doc deny ## everything that has to pass before a merge

lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

test: servers ## all tests, against real servers on loopback
	$(CARGO) test --locked

# Apart from `make test`: from scratch, Vector's engine takes some four minutes to compile on two cores.
vrl: ## the remaps of examples/vector in Vector's own engine, on what the program sends
	$(CARGO) fmt --check --manifest-path tests/vrl/Cargo.toml
	$(CARGO) build --locked
	DMARC_SHIPPER="$(CURDIR)/target/debug/dmarc-shipper" CARGO_TARGET_DIR=target/vrl \
	  $(CARGO) test --locked --manifest-path tests/vrl/Cargo.toml

SOAK_KILLS ?= 1000

soak: servers ## the program killed 1,000 times while it ships (SOAK_KILLS), and what came of it; about 25 minutes
	SOAK_KILLS=$(SOAK_KILLS) $(CARGO) test --locked --test it -- killed_at_any_moment --nocapture

doc: ## the documentation builds without a warning
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

deny: ## licences, banned and duplicate packages, known vulnerabilities
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny@$(DENY_VERSION)
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
