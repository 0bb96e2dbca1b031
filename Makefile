# The two commands of a new user are `make demo` and `make test`; the rest is for people who work on mnx.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# Where cargo builds, CARGO_TARGET_DIR or target; every script asks the same.
TARGET := $(shell scripts/target-dir.sh)
CARGO := . "$(TARGET)/mnx-env.sh" && cargo

.PHONY: demo test setup ptxas release lint fmt doc build-tests run-tests bench bench-instructions bench-volume bench-peers clean

## demo: set up, build, compile the sample network, segment the sample brain; prints where the result and its picture are
demo: release
	scripts/demo.sh

## test: set up, lint, documentation, every test; prints the time of each part
test:
	@scripts/test.sh

build-tests: setup
	$(CARGO) test --release --workspace --features mnxc/llvm,mnx-tests/llvm --no-run

run-tests: setup
	$(CARGO) test --release --workspace --features mnxc/llvm,mnx-tests/llvm --no-fail-fast

setup:
	@scripts/setup.sh

## ptxas: NVIDIA's assembler from its pinned wheel into a cache, to check PTX with; tests say loudly where it cannot be had
ptxas:
	@scripts/get-ptxas.sh || [ $$? -eq 3 ]

## release: both binaries, release/mnxc and release/mnx in the target directory
release: setup
	$(CARGO) build --release -p mnxc -p mnx --features mnxc/llvm

# Every source file by its name: `cargo fmt` does not see modules that a macro declares. Without git, all files outside of where cargo builds.
RUSTFMT = { git ls-files '*.rs' 2>/dev/null | grep . || find "$(CURDIR)" -path "$(abspath $(TARGET))" -prune -o -name '*.rs' -print; } | xargs rustfmt --edition 2024

## lint: checks the format and clippy's findings; `make fmt` mends the format
lint: setup
	$(RUSTFMT) --check
	$(CARGO) clippy --release --no-deps --workspace --all-targets --features mnxc/llvm,mnx-tests/llvm -- -D warnings

fmt:
	$(RUSTFMT)

doc: setup
	$(CARGO) doc --release --workspace --no-deps --features mnxc/llvm 2>&1 | tee "$(TARGET)/doc.log"
	@! grep -q '^warning' "$(TARGET)/doc.log"

## bench: the tables of benches/results
bench: release
	$(CARGO) run --release -p mnx-benches --bin e2e -- --bin "$(TARGET)/release"

## bench-instructions: vector instructions of the hot kernels, counted in their assembly
bench-instructions: release
	$(CARGO) run --release -p mnx-benches --bin instructions -- --bin "$(TARGET)/release"

## bench-volume: resampling of 160^3 voxels, and the peak memory of a 512x512x600 CT from file to file
bench-volume:
	$(CARGO) run --release -p mnx-benches --bin volume -- resample
	$(CARGO) run --release -p mnx-benches --bin volume -- memory
	$(CARGO) run --release -p mnx-benches --bin volume -- memory --spacing 0

## bench-peers: mnx against OpenVINO, ONNX Runtime, PyTorch, MONAI and nnU-Net; TORCH=0 leaves out the last three (GBs to install), ARGS goes to peers.py
bench-peers: release
	@TORCH=$(or $(TORCH),1) scripts/bench_peers.sh $(ARGS)

clean:
	cargo clean
