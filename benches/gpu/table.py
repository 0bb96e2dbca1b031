#!/usr/bin/env python3
"""One Markdown table of what run.sh measured: table.py RESULTS [BUNDLES] (plain python3).

Without results it prints the cost model's predictions from BUNDLES/*.json (mnxc explain --json) and marks the measured columns as such."""
import glob
import json
import os
import sys

results, bundles = sys.argv[1], (sys.argv[2] if len(sys.argv) > 2 else None)


def load(path):
    try:
        with open(path) as f:
            return json.load(f)
    except (OSError, ValueError):
        return None


def ms(seconds):
    return "not yet measured" if seconds is None else f"{1e3 * seconds:.3f}"


torch = load(os.path.join(results, "pytorch.json")) or {"rows": [], "machine": {}}
devices = load(os.path.join(results, "devices.json"))
names = sorted(
    {os.path.basename(p).split(".")[0] for p in glob.glob(os.path.join(bundles or results, "bench-*.json")) + glob.glob(os.path.join(results, "bench-*.json"))},
    key=lambda n: ("SBML".index(n[6]), n),
)
gpus = [g.get("name") for g in (devices or {}).get("gpus", [])]
print("GPU: " + (", ".join(filter(None, gpus)) or "none: nothing here is measured"))
print("Predictions and floors are for the data sheet of the chip that the code is for (sm_80: A100, sm_90a: H100 SXM), whatever GPU is here.")
if torch["machine"]:
    m = torch["machine"]
    print(f"PyTorch {m.get('torch')}, cuDNN {m.get('cudnn')}, copy {m.get('copy_GBps')} GB/s")
print()
print("| network, 128^3, batch 1, bf16 | mnx ms | predicted ms | floor ms | % of floor | arena MiB | PyTorch best ms of eager, cl3d, graph (mode) | PyTorch / mnx |")
print("|---|---|---|---|---|---|---|---|")
for name in names:
    got = load(os.path.join(results, name + ".json")) or {}
    target = got.get("isa") or "sm_90a"
    want = (load(os.path.join(bundles, f"{name}.{target}.json")) if bundles else None) or {}
    total = want.get("total", {})
    variant, kernel = name[6], int(name[-1])
    rows = [r for r in torch["rows"] if r["variant"] == variant and r["kernel"] == kernel and "ms" in r]
    best = min(rows, key=lambda r: r["ms"], default=None)
    # The launches alone: PyTorch is timed with its tensors on the GPU, too.
    s = (got.get("compute_s") or {}).get("median") or got.get("median_s")
    floor = total.get("floor_s")
    share = f"{100 * floor / s:.0f}" if s and floor else "not yet measured"
    arena = want.get("memory", {}).get("arena_bytes")
    predicted = ms(total.get("predicted_s")) if total else "-"
    memory = f"{arena / 2**20:.0f}" if arena else "-"
    rival = f"{best['ms']:.2f} ({best['mode']})" if best else "not yet measured"
    ratio = f"{best['ms'] / (1e3 * s):.1f}" if best and s else "not yet measured"
    print(f"| {variant} k{kernel} | {ms(s)} | {predicted} | {ms(floor) if floor else '-'} | {share} | {memory} | {rival} | {ratio} |")
