#!/usr/bin/env bash
# Packs everything a GPU machine needs to check and time mnx: the release binary, hollow bundles (weights are drawn there by formula), test vectors, the PyTorch
# baseline, and run.sh, which does it all. The machine needs an NVIDIA driver; with PyTorch there the comparison is made too.
#
#   scripts/gpu-check.sh [--quick]       writes target/gpu-check.tar.gz (under 60 MB); unpack it there and run ./run.sh RESULTS
#
# --quick leaves out all but the small networks and S. TARGETS=sm_89 scripts/gpu-check.sh packs code for another chip.
set -euo pipefail
cd "$(dirname "$0")/.."

quick=0
[ "${1:-}" = --quick ] && quick=1
# Code for the machine at hand: PTX of a lower target runs on later chips too, and each target more makes the pack larger and slower to make.
TARGETS=${TARGETS:-sm_80,sm_90a}
LIMIT=$((60 * 1000 * 1000))
say() { printf 'gpu-check: %s\n' "$*" >&2; }

make --quiet release
target=$(scripts/target-dir.sh)
pack=$target/gpu-check
rm -rf "$pack"
mkdir -p "$pack/bundles"
cp "$target/release/mnx" "$pack/"
strip "$pack/mnx" 2>/dev/null || true
cp benches/gpu/run.sh benches/gpu/table.py benches/gpu/pytorch_baseline.py "$pack/"
git rev-parse HEAD >"$pack/commit"

cubin=()
if scripts/get-ptxas.sh >/dev/null; then cubin=(--cubin); else say "no ptxas: the bundles carry PTX, which the driver compiles"; fi

# The official network's stored cases: config and shape from the case, weights by its formula, expectations by the float64 interpreter.
say "networks to verify"
for file in tests/vectors/forward/*.safetensors; do
  case=$(basename "$file" .safetensors)
  case $case in tiny_upkern*) continue ;; [BML]_*) [ $quick = 1 ] && continue ;; esac
  python3 benches/gpu/case.py "$file" "$pack/$case.toml" >"$pack/$case.shape"
  read -r batch patch <"$pack/$case.shape"
  for precision in f32 bf16; do
    # Cubins beside the PTX in bf16: what is timed is also verified.
    assembled=(); [ $precision = bf16 ] && assembled=("${cubin[@]}")
    "$target/release/mnxc" compile "$pack/$case.toml" --quiet --formula "$case" --hollow --vectors always --batch "$batch" --patch "$patch" \
      --target "$TARGETS" --precision $precision "${assembled[@]}" -o "$pack/bundles/verify-$case-$precision.mnxa"
  done
  rm "$pack/$case.toml" "$pack/$case.shape"
done

say "networks to time"
for variant in S B M L; do
  [ $quick = 1 ] && [ $variant != S ] && continue
  for kernel in 3 5; do
    printf 'variant = "%s"\nkernel_size = %s\nin_channels = 1\nn_classes = 4\n' $variant $kernel >"$pack/net.toml"
    "$target/release/mnxc" compile "$pack/net.toml" --quiet --formula bench --hollow --vectors none --patch 128,128,128 \
      --target "$TARGETS" "${cubin[@]}" -o "$pack/bundles/bench-${variant}_k$kernel.mnxa"
    for target in ${TARGETS//,/ }; do
      "$target/release/mnxc" explain "$pack/bundles/bench-${variant}_k$kernel.mnxa" --quiet --isa "$target" --json "$pack/bundles/bench-${variant}_k$kernel.$target.json"
    done
  done
done
rm -f "$pack/net.toml"

# MONAI's networks for the PyTorch side: a pure-Python wheel.
if python3 -m pip download --quiet --no-deps --dest "$pack" monai==1.6.1 2>/dev/null; then
  (cd "$pack" && python3 -m zipfile -e monai-*.whl monai && rm monai-*.whl)
else
  say "pip could not bring MONAI: the PyTorch side will need it on PYTHONPATH"
fi

tar -C "$target" -czf "$target/gpu-check.tar.gz" gpu-check
size=$(stat -c %s "$target/gpu-check.tar.gz")
[ "$size" -le $LIMIT ] || { say "error: the pack has $size bytes, more than $LIMIT"; exit 1; }
say "$target/gpu-check.tar.gz, $((size / 1000)) kB; on the GPU machine: tar xf gpu-check.tar.gz && gpu-check/run.sh results"
