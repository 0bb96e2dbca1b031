#!/usr/bin/env bash
# The main job on the sample: compile the network, segment the brain, say where the result and its picture are.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${MNX_BIN:-$(scripts/target-dir.sh)/release}
sample=examples/brain_tissue
mkdir -p out
"$bin/mnxc" compile $sample/config.toml --weights $sample/weights.safetensors --target host --patch 64,64,64 -o out/brain_tissue.mnxa
"$bin/mnx" predict out/brain_tissue.mnxa -i $sample/t1.nii.gz -o out/brain_tissue_seg.nii.gz --picture out/brain_tissue.png
printf '\nsegmentation: %s\npicture:      %s\n' "$PWD/out/brain_tissue_seg.nii.gz" "$PWD/out/brain_tissue.png"
