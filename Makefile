# Five commands; a fresh machine needs Rust, Node, Python and a C compiler, nothing else.
# What each of them does stands in xtask/src/steps.rs.

CARGO ?= cargo
# Where `make run` keeps its traces.
DATA ?= target/run-data

.PHONY: run check test bench soak

# Builds what is needed, starts the server with embedded storage and live demo traffic, prints the addresses.
run:
	$(CARGO) build --release --package tracewell-cli
	$(CARGO) run --release --quiet --package tracewell-cli -- serve --data-dir $(DATA) --demo 20

# fmt, lints, unit, model and golden tests, tidy, deny, doc links.
check:
	$(CARGO) xtask check

# All that CI runs: `make check`, then the real binary, faults, Python, Node, fuzzing.
test:
	$(CARGO) xtask test

# The tables of numbers for this machine, at so many spans each. BENCH="--json" passes arguments on.
# The larger one takes some minutes and about 3 GB below $TMPDIR. BENCH="--set bucket.kind=s3 --set bucket.name=..." asks a
# bucket too; docs/guide/object-storage.md says how.
SPANS ?= 1000000,10000000
bench:
	$(CARGO) build --release --package tracewell-cli
	$(CARGO) run --release --quiet --package tracewell-cli -- bench --spans $(SPANS) $(BENCH)

# Ingest, queries, merging, retention and an unreliable bucket together, on the release binary, for half an hour.
SOAK ?= 1800
soak:
	$(CARGO) build --release --package tracewell-cli
	TRACEWELL_BINARY=$${CARGO_TARGET_DIR:-target}/release/tracewell TRACEWELL_SOAK_SECONDS=$(SOAK) $(CARGO) xtask test soak
