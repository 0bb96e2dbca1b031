#!/usr/bin/env bash
# What `make test` does, part by part, with the time of each. A part that fails ends it; the times so far are printed all the same.
set -uo pipefail
cd "$(dirname "$0")/.."
make=${MAKE:-make}
times=()
part() { # name, command...
  local name=$1 start=$SECONDS code=0
  shift
  printf '\n=== %s\n' "$name"
  "$@" || code=$?
  times+=("$(printf '%-34s %5d s%s' "$name" $((SECONDS - start)) "$([ $code = 0 ] || printf '  FAILED (%d)' $code)")")
  return $code
}
report() {
  printf '\n=== times\n'
  printf '%s\n' "${times[@]}" "$(printf '%-34s %5d s' "all" $SECONDS)"
}
trap report EXIT
set -e
part "set up: LLVM and its packages" $make --no-print-directory setup
part "ptxas, to check PTX with" $make --no-print-directory ptxas
part "format and lints" $make --no-print-directory lint
part "documentation" $make --no-print-directory doc
part "build both programs" $make --no-print-directory release
part "build the tests" $make --no-print-directory build-tests
part "run the tests" $make --no-print-directory run-tests
part "the demo" scripts/demo.sh
