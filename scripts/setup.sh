#!/usr/bin/env bash
# Finds LLVM/MLIR 22 and what linking needs, installs it on Debian and Ubuntu, says exactly what to do elsewhere.
# Writes mnx-env.sh into the target directory, which the Makefile reads before every cargo call.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

PACKAGES="llvm-22-dev libmlir-22-dev mlir-22-tools llvm-22-tools libpolly-22-dev libclang-22-dev lld-22
libzstd-dev zlib1g-dev libxml2-dev libz3-dev libffi-dev libedit-dev libtinfo-dev gcc g++ libc6-dev"

# 1. Rust comes by rustup; it is presumed, not installed.
command -v cargo >/dev/null 2>&1 || fail "cargo is not on PATH. Install Rust 1.95 or newer by rustup (https://rustup.rs), open a new shell, run this again."
version=$(rustc --version | sed 's/^rustc \([0-9]*\.[0-9]*\).*/\1/')
[ "$(printf '%s\n1.95\n' "$version" | sort -V | head -n 1)" = 1.95 ] || fail "rustc is $version, 1.95 or newer is needed: run 'rustup update stable'."

# 2. LLVM/MLIR 22: MNX_LLVM_PREFIX, then the usual places.
has_llvm() { # prefix
  [ -x "$1/bin/llvm-config" ] && [ "$("$1/bin/llvm-config" --version | cut -d. -f1)" = 22 ] &&
    [ -e "$1/include/mlir-c/IR.h" ] && { [ -e "$1/lib/libMLIRIR.a" ] || ls "$1"/lib/libMLIR.so* >/dev/null 2>&1; }
}
find_llvm() {
  local p
  if [ -n "${MNX_LLVM_PREFIX:-}" ]; then
    has_llvm "$MNX_LLVM_PREFIX" || fail "MNX_LLVM_PREFIX=$MNX_LLVM_PREFIX is not an LLVM 22 with MLIR (looked for bin/llvm-config, include/mlir-c, lib/libMLIR*)"
    echo "$MNX_LLVM_PREFIX"
    return 0
  fi
  for p in /usr/lib/llvm-22 /opt/homebrew/opt/llvm@22 /usr/local/opt/llvm@22 /usr/local /opt/llvm-22; do
    [ -n "$p" ] && has_llvm "$p" && { echo "$p"; return 0; }
  done
  p=$(command -v llvm-config-22 || command -v llvm-config || true)
  [ -n "$p" ] && p=$("$p" --prefix) && has_llvm "$p" && { echo "$p"; return 0; }
  return 1
}
missing_packages() {
  local p
  for p in $PACKAGES; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$p"
  done
}

if command -v apt-get >/dev/null 2>&1; then
  if [ -n "${MNX_LLVM_PREFIX:-}" ]; then missing=""; else missing=$(missing_packages); fi
  if [ -n "$missing" ]; then
    say "installing: $missing"
    sudo=""
    if [ "$(id -u)" != 0 ]; then
      command -v sudo >/dev/null 2>&1 || fail "not root and no sudo. As root, run: apt-get update && apt-get install -y --no-install-recommends $missing"
      sudo=sudo
    fi
    log=$(mktemp)
    $sudo apt-get update >"$log" 2>&1 || { tail -n 5 "$log" >&2; fail "apt-get update failed (see above)"; }
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >"$log" 2>&1 || {
      tail -n 5 "$log" >&2
      fail "apt-get could not install: $missing
  Your release may carry an older LLVM. Add LLVM's own apt repository for version 22 (apt.llvm.org explains how), then run this again,
  or set MNX_LLVM_PREFIX to an LLVM 22 that has MLIR."
    }
    rm -f "$log"
  fi
fi

prefix=$(find_llvm) || { [ -z "${MNX_LLVM_PREFIX:-}" ] || exit 1; fail "LLVM 22 with MLIR was not found.
  Install it (Fedora: llvm22-devel mlir22-devel; macOS: brew install llvm@22; from source: -DLLVM_ENABLE_PROJECTS='mlir;lld'
  -DLLVM_LINK_LLVM_DYLIB=ON -DLLVM_TARGETS_TO_BUILD='X86;NVPTX'), then run: MNX_LLVM_PREFIX=/path/to/llvm-22 make demo"; }
say "LLVM $("$prefix/bin/llvm-config" --version) at $prefix"

target=$(scripts/target-dir.sh)
mkdir -p "$target"
cat > "$target/mnx-env.sh" <<E2
export MLIR_SYS_220_PREFIX="$prefix" LLVM_SYS_221_PREFIX="$prefix" TABLEGEN_220_PREFIX="$prefix" PATH="$prefix/bin:\$PATH"
E2
