# Every command of the repository. What is missing on the machine is installed, or named, first: scripts/tools.
# ARGS goes to the program at the end of a command: make demo ARGS='--port 8081', make test ARGS='-p portcullis-policy'.

export PATH := $(PATH):$(HOME)/.cargo/bin
TARGET := $(or $(CARGO_TARGET_DIR),target)
PORTCULLIS := $(TARGET)/release/portcullis
CONFIG ?= gateway.yaml

.PHONY: build demo run check test lint bench bench-proxy bench-storm configuration-page cover docs

build: ## the release binary: target/release/portcullis
	@scripts/tools build
	cargo build --release --locked --package portcullis

demo: build ## the gateway on 8080 with three sample backends and two users, nothing kept
	$(PORTCULLIS) demo $(ARGS)

run: build ## the gateway with CONFIG
	$(PORTCULLIS) run --config $(CONFIG) $(ARGS)

check: build ## every mistake in CONFIG, with file, line and column
	$(PORTCULLIS) check --config $(CONFIG) $(ARGS)

test: ## the whole suite, a real PostgreSQL and Redis included
	@scripts/tools build test
	cargo test --workspace --locked --no-fail-fast $(ARGS)

lint: ## formatting, clippy without a warning, licences and the arrows between the rooms
	@scripts/tools build lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	scripts/deny

bench: ## admission alone, a cold token, and what grows with routes, callers and keys
	@scripts/tools build
	cargo bench --locked --package portcullis-benches $(ARGS)

bench-proxy: build ## CPU time per request against a bare Pingora proxy, side by side
	cargo run --release --locked --package portcullis-benches --bin bench-proxy -- $(ARGS)

bench-storm: build ## what a storm of sign-ins does to everybody else: memory, answers, p99
	cargo run --release --locked --package portcullis-benches --bin bench-storm -- $(ARGS)

configuration-page: ## docs/configuration.md, from the schema in crates/config/src/schema
	@scripts/tools build
	cargo run --locked --package portcullis-tidy --bin configuration-page > docs/configuration.md.new
	mv docs/configuration.md.new docs/configuration.md

cover: ## what the tests reach: target/llvm-cov/html
	@scripts/tools build test cover
	cargo llvm-cov --workspace --locked --html $(ARGS)

docs: ## the rooms' documentation, private items too: there are no users outside
	@scripts/tools build
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' cargo doc --workspace --no-deps --document-private-items --locked
