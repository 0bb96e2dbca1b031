#!/usr/bin/env bash
# Makes the virtual environment of the peers (pinned versions), then times mnx against them. All arguments go to peers.py.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { printf 'bench-peers: error: %s\n' "$*" >&2; exit 1; }
python=${PYTHON:-}
if [ -z "$python" ]; then
  python=$(command -v python3.11 || command -v python3) || fail "no python3; install Python 3.11"
fi
"$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' || fail "$python is not Python 3.11 or newer with the module venv"
target=$(scripts/target-dir.sh)
venv=$target/peers-venv
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
install() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "benches/peers/$1"; }
install requirements.txt || fail "pip could not install benches/peers/requirements.txt (see above)"
more=()
if [ "${TORCH:-1}" != 0 ]; then
  if install requirements-torch.txt; then more=(--torch); else
    printf 'bench-peers: NOTE: PyTorch and MONAI could not be installed (see above); going on without their columns\n' >&2
  fi
fi
bin="${MNX_BIN:-$target/release}"
"$venv/bin/python" benches/peers/peers.py --bin "$bin" "${more[@]}" "$@"

# A whole case with nnU-Net v2, from a result folder that the tests write.
[ "${#more[@]}" -gt 0 ] || exit 0
install requirements-nnunet.txt || { printf 'bench-peers: NOTE: nnU-Net could not be installed (see above); going on without it\n' >&2; exit 0; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
folder=$(cargo run --quiet --release -p mnx-tests --example nnunet_folder -- v2_ct_iso "$scratch")
"$bin/mnxc" import "$folder" -o "$scratch/imported" --quiet
"$bin/mnxc" compile "$scratch/imported" --target host --vectors none -o "$scratch/m.mnxa" --quiet
"$venv/bin/python" benches/peers/nnunet.py --folder "$folder" --image tests/data/torso_ct/ct.nii.gz --bundle "$scratch/m.mnxa" --bin "$bin" --scratch "$scratch"
