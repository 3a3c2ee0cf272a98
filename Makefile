# The commands of this repository. `make demo` and `make test` do all their set-up.

SHELL := /bin/bash
export CARGO_TARGET_DIR := $(shell scripts/target-dir)
COURANT := $(CARGO_TARGET_DIR)/release/courant

.PHONY: help demo test build web bench audit fuzz fmt docs clean

help: ## Lists the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: build ## Builds everything and runs the demo; prints the address
	$(COURANT) demo

build: web ## Builds the optimised binary with its pages
	@scripts/setup build
	cargo build --locked --release -p courant

web: ## Builds the pages that the binary carries
	@scripts/setup build
	@scripts/web

test: ## Runs every test: formats, lints, unit, property, crash, end-to-end, browser
	@scripts/setup test
	@scripts/test

bench: build ## Runs the measurements under bench/ and prints their tables
	@scripts/bench

audit: ## Checks licences, bans and advisories of all dependencies
	@scripts/audit

fuzz: ## Fuzzes the decoders (needs a nightly toolchain); FUZZ_SECONDS a target, default 60
	@scripts/fuzz

docs: ## Writes the generated reference of the file (a test fails when it drifts)
	cargo run --locked -q -p courant -- docs > docs/reference.md

fmt: ## Formats the code
	cargo fmt --all

clean: ## Removes what was built here
	cargo clean
	rm -rf web/dist web/node_modules
