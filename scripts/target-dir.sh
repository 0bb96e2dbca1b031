#!/usr/bin/env bash
# Prints where cargo builds: CARGO_TARGET_DIR or a config's build.target-dir if there is one, else target.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -n "${CARGO_TARGET_DIR:-}" ]; then
  echo "$CARGO_TARGET_DIR"
  exit 0
fi
found=$(cargo metadata --no-deps --format-version 1 2>/dev/null | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p' || true)
# Where cargo is missing, setup.sh says what to do; its files have to go somewhere until then.
echo "${found:-target}"
