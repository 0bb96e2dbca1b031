"""mnx against other CPU runtimes: the same network, the same weights, in alternation in one process.

`make bench-peers` runs this in its virtual environment and writes benches/results/peers.json and peers.md.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import runtimes

# Variant, kernel, extent of the patch, and how many times faster than OpenVINO mnx is meant to be.
ROWS = [
    ("S", 3, 64, 2.2),
    ("S", 5, 64, 2.2),
    ("B", 3, 64, 2.2),
    ("B", 5, 64, 2.2),
    ("M", 3, 64, 1.6),
    ("M", 5, 64, 1.6),
    ("L", 3, 64, 1.6),
    ("L", 5, 64, 1.6),
    ("S", 3, 128, 2.5),
]
# Largest difference between two runtimes against the largest value.
TOLERANCE = 1e-3
# Lets the threads of the runtime before go to sleep.
PAUSE = 0.05


def row_name(row):
    return f"{row[0]} k{row[1]} {row[2]}^3"


def prepare(row, binaries, scratch):
    """Compiles the bundle, exports the ONNX file and draws the input of a row."""
    variant, kernel, extent, _ = row
    config, bundle, model = (scratch / f"net.{end}" for end in ("toml", "mnxa", "onnx"))
    config.write_text(f'variant = "{variant}"\nin_channels = 1\nn_classes = 4\nkernel_size = {kernel}\n')
    shape = ["--seed", "1", "--patch", f"{extent},{extent},{extent}", "--quiet"]
    subprocess.run([binaries / "mnxc", "compile", config, *shape, "--vectors", "none", "-o", bundle], check=True)
    subprocess.run([binaries / "mnxc", "export-onnx", config, *shape, "-o", model], check=True)
    x = np.random.default_rng([kernel, extent]).standard_normal((1, 1, extent, extent, extent), dtype=np.float32)
    np.save(scratch / "x.npy", x)
    return bundle, model, x


def child_rss(kind, model, scratch, threads):
    """Peak memory of a process that does nothing but load the network and run it twice."""
    command = [sys.executable, __file__, "--rss", kind.__name__, "--model", model, "--input", scratch / "x.npy", "--threads", str(threads)]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure(row, kinds, args, scratch):
    """One row: agreement, then the times of every runtime in turn, round by round."""
    name = row_name(row)
    bundle, model, x = prepare(row, args.bin, scratch)
    kinds = [k for k in kinds if k is not runtimes.Monai or row[0] == "S"]
    rss = {k.name: child_rss(k, model, scratch, args.threads) for k in kinds}
    mnx = runtimes.Mnx(args.bin, bundle, args.threads)
    peers = [k(str(model), x, args.threads) for k in kinds]
    want = mnx.output(x, scratch)
    differences = {}
    for peer in peers:
        got = np.asarray(peer.infer())
        if got.shape != want.shape:
            raise SystemExit(f"{name}: {peer.name} gives {got.shape}, mnx {want.shape}")
        difference = float(np.abs(got - want).max() / np.abs(want).max())
        # Written so that NaN fails.
        if not difference <= TOLERANCE:
            raise SystemExit(f"{name}: {peer.name} and mnx differ by {difference:.2e} of the largest value, {TOLERANCE} allowed")
        differences[peer.name] = difference
    load_before = os.getloadavg()[0]
    everyone = [mnx, *peers]
    for runtime in everyone:
        runtime.run()
    seconds = {runtime.name: [] for runtime in everyone}
    for turn in range(args.rounds):
        for runtime in everyone:
            if turn >= getattr(runtime, "most_rounds", args.rounds):
                continue
            time.sleep(PAUSE)
            seconds[runtime.name].append(runtime.run())
    rss["mnx"] = mnx.peak_rss()
    for runtime in everyone:
        runtime.close()
    del peers, everyone
    gc.collect()
    bench = [args.bin / "mnx", "bench", bundle, "--runs", "2", "--threads", str(args.threads), "--json", "-"]
    own = json.loads(subprocess.run(bench, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return {
        "network": name,
        "target": row[3],
        "seconds": seconds,
        "median_s": {k: statistics.median(v) for k, v in seconds.items()},
        "min_s": {k: min(v) for k, v in seconds.items()},
        "difference": differences,
        "peak_rss_bytes": rss,
        "load_average": [load_before, os.getloadavg()[0]],
        "isa": own["isa"],
        "arena_bytes": own["arena_bytes"],
        "weights_bytes": own["weights_bytes"],
        "roofline": own["roofline"],
        "dispatch_costs": [[d["flops"], d["bytes"]] for d in own["dispatches"]],
    }


def finish(rows):
    """Ratios and floors. Noise only lowers a measured ceiling, so the highest of all rows is the machine's."""
    flops = max(r["roofline"]["flops_per_s"] for r in rows)
    bandwidth = max(r["roofline"]["bytes_per_s"] for r in rows)
    for r in rows:
        peers = {k: v for k, v in r["median_s"].items() if k != "mnx"}
        r["best_peer"] = min(peers, key=peers.get)
        r["ratio"] = {
            # A peer with fewer rounds had the first ones.
            peer: statistics.median(p / m for p, m in zip(r["seconds"][peer], r["seconds"]["mnx"], strict=False)) for peer in peers
        }
        r["floor_s"] = sum(max(f / flops, b / bandwidth) for f, b in r["dispatch_costs"])
        r["times_floor"] = r["median_s"]["mnx"] / r["floor_s"]
    return {"flops_per_s": flops, "bytes_per_s": bandwidth}


def machine():
    """The machine in words, as far as Linux tells."""
    fields = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = fields.get("flags", "").split()
    caches = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / f).read_text().strip() for f in ("level", "type", "size"))
        caches[f"L{level}{'' if kind == 'Unified' else kind[0].lower()}"] = size
    return {
        "cpu": fields.get("model name", "unknown"),
        "family": fields.get("cpu family"),
        "model": fields.get("model"),
        "cores": len(os.sched_getaffinity(0)),
        "isa": [f for f in ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16") if f in flags],
        "caches": caches,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def markdown(report):
    m, rows, roofline = report["machine"], report["rows"], report["roofline"]
    names = list(report["versions"])
    load = max(x for r in rows for x in r["load_average"])
    versions = ", ".join(f"{k} {v}" for k, v in report["versions"].items())
    lines = [
        "# mnx against other CPU runtimes",
        "",
        f"float32, batch 1, {report['threads']} threads, the same random weights everywhere; median seconds of {report['rounds']} rounds, "
        "every runtime once per round (PyTorch and MONAI in the first three), in one process (mnx in a child that waits for its turn). "
        "Made by `make bench-peers`.",
        "",
        f"{m['cpu']} (family {m['family']}, model {m['model']}), {m['cores']} cores, {' '.join(m['isa'])}, "
        f"caches {', '.join(f'{k} {v}' for k, v in m['caches'].items())}. Measured ceilings: {roofline['flops_per_s'] / 1e9:.0f} GFLOP/s, "
        f"{roofline['bytes_per_s'] / 1e9:.0f} GB/s. {versions}.",
        "",
        f"Highest load average beside a row: {load:.1f} (about {report['threads']} is this benchmark alone"
        + (")." if load <= report["threads"] + 0.8 else "; more means that other programs took part: compare ratios, not seconds)."),
        "",
        "Ratio: median over the rounds of the fastest peer's time over mnx's in the same round. Floor: mnx's own operations and bytes, dispatch by",
        "dispatch, at the measured ceilings. Difference: the largest between mnx and any peer, against the largest value.",
        "",
        "| network | mnx s | " + " | ".join(f"{n} s" for n in names) + " | fastest peer / mnx | target | floor s | mnx / floor | difference |",
        "|---" * (len(names) + 7) + "|",
    ]
    for r in rows:
        times = " | ".join(f"{r['median_s'][n]:.3f}" if n in r["median_s"] else "-" for n in names)
        lines.append(
            f"| {r['network']} | {r['median_s']['mnx']:.3f} | {times} | {r['ratio'][r['best_peer']]:.2f} ({r['best_peer']}) | {r['target']} | "
            f"{r['floor_s']:.3f} | {r['times_floor']:.2f} | {max(r['difference'].values()):.0e} |"
        )
    if report["not_measured"]:
        lines += ["", f"The run was cut short; not measured: {', '.join(report['not_measured'])}."]
    lines += [
        "",
        "Peak resident memory of a process that runs only this, MiB (peers: with Python and NumPy); arena is what mnx's plan says.",
        "",
        "| network | mnx | arena | weights | " + " | ".join(names) + " |",
        "|---" * (len(names) + 4) + "|",
    ]
    for r in rows:
        mib = {k: f"{v / 2**20:.0f}" for k, v in r["peak_rss_bytes"].items()}
        own = f"{mib['mnx']} | {r['arena_bytes'] / 2**20:.0f} | {r['weights_bytes'] / 2**20:.0f}"
        lines.append(f"| {r['network']} | {own} | " + " | ".join(mib.get(n, "-") for n in names) + " |")
    return "\n".join(lines) + "\n"


def write(path, text):
    """Under a temporary name first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".peers-", delete=False) as f:
        f.write(text)
    os.chmod(f.name, 0o644)
    os.replace(f.name, path)


def torch_kinds(wanted):
    """PyTorch and MONAI, if they are asked for."""
    if not wanted:
        return []
    try:
        import monai  # noqa: F401
        import onnx  # noqa: F401
        import torch  # noqa: F401
    except ImportError as e:
        raise SystemExit(f"--torch: {e}; install benches/peers/requirements-torch.txt") from e
    return runtimes.TORCH


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=Path, default=Path("target/release"), help="folder of mnxc and mnx")
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", default="", help="only rows whose name contains one of these, separated by commas, printed and not written: 'S k3 64,L k5'")
    parser.add_argument("--quick", action="store_true", help="only S k3 at 64^3; printed and not written")
    parser.add_argument("--torch", action="store_true", help="PyTorch and MONAI columns too")
    parser.add_argument("--rss", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--input", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rss:
        runtime = getattr(runtimes, args.rss)(args.model, np.load(args.input), args.threads)
        runtime.run()
        runtime.run()
        print(runtimes.peak_rss())
        return
    args.bin = args.bin.resolve()
    for binary in ("mnxc", "mnx"):
        if not (args.bin / binary).is_file():
            raise SystemExit(f"{args.bin / binary} is not there: run `make release` first")
    wanted = [w.strip() for w in args.rows.split(",") if w.strip()]
    chosen = ROWS[:1] if args.quick else [r for r in ROWS if not wanted or any(w in row_name(r) for w in wanted)]
    if not chosen:
        raise SystemExit(f"--rows {args.rows}: no row has such a name; there are {', '.join(map(row_name, ROWS))}")
    if args.rounds < 1:
        raise SystemExit("--rounds: at least 1")
    kinds = runtimes.ALWAYS + torch_kinds(args.torch)
    if not args.torch:
        print("NOTE: no PyTorch and MONAI columns in this table: they are not installed, or TORCH=0 left them out", file=sys.stderr)
    rows = []
    for row in chosen:
        print(f"{row_name(row)} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            rows.append(measure(row, kinds, args, Path(scratch)))
        median = ", ".join(f"{k} {v:.3f}" for k, v in rows[-1]["median_s"].items())
        print(f"  {median}; load {rows[-1]['load_average'][1]:.1f}", file=sys.stderr, flush=True)
        report = {
            "machine": machine(),
            "versions": runtimes.versions(kinds),
            "threads": args.threads,
            "rounds": args.rounds,
            "roofline": finish(rows),
            "not_measured": [row_name(r) for r in ROWS[len(rows) :]] if chosen == ROWS else [],
            "rows": rows,
        }
        # After every row: a run that is cut short leaves a table that says what is missing.
        if chosen == ROWS:
            write(args.out / "peers.json", json.dumps(report, indent=1) + "\n")
            write(args.out / "peers.md", markdown(report))
    print(markdown(report))


if __name__ == "__main__":
    main()
