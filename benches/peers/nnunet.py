"""A whole case with nnU-Net v2 and with mnx, phase by phase, on the CPU, from the same result folder.

`make bench-peers` runs this after peers.py and writes benches/results/nnunet.json and nnunet.md. Every run is a process of its own; the two take
turns, and the medians are reported. Peak memory is the process's, interpreter and libraries included.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

PHASES = ["start", "read", "preprocess", "network", "export"]


def nnunet_case(folder, image, output):
    """One case in this process, in the steps of nnU-Net's own predictor; prints seconds per phase."""
    began = float(os.environ["PEER_BEGAN"])
    import torch
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference.export_prediction import export_prediction_from_logits
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
    from torch_network import Network

    folder = Path(folder)
    plans = PlansManager(json.loads((folder / "plans.json").read_text()))
    dataset = json.loads((folder / "dataset.json").read_text())
    configuration = plans.get_configuration(folder.name.split("__")[-1])
    networks, mirror = [], None
    for fold in sorted(folder.glob("fold_*")):
        checkpoint = torch.load(fold / "checkpoint_final.pth", map_location="cpu", weights_only=False)
        networks.append(Network(checkpoint["network_weights"]).eval())
        mirror = checkpoint["inference_allowed_mirroring_axes"]
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    parameters = [n.state_dict() for n in networks]
    predictor.manual_initialization(networks[0], plans, configuration, parameters, dataset, "MedNeXt", mirror)
    marks = [time.time()]

    data, properties = SimpleITKIO().read_images([image])
    marks.append(time.time())
    preprocessor = configuration.preprocessor_class(verbose=False)
    prepared, _, properties = preprocessor.run_case_npy(data, None, properties, plans, configuration, dataset)
    marks.append(time.time())
    logits = predictor.predict_logits_from_preprocessed_data(torch.as_tensor(prepared))
    marks.append(time.time())
    export_prediction_from_logits(logits, properties, configuration, plans, dataset, output.removesuffix(".nii.gz"), False)
    marks.append(time.time())
    seconds = [marks[0] - began] + [b - a for a, b in zip(marks, marks[1:])]
    print(json.dumps(dict(zip(PHASES, seconds))))


def timed(command, threads):
    """Runs a process: its standard output's last JSON text, wall seconds and peak bytes."""
    began = time.time()
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS"]
    environment = {**os.environ, **{n: str(threads) for n in names}, "PEER_BEGAN": repr(began)}
    for name in ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"]:
        environment.setdefault(name, "unused")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    out, err = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"nnunet.py: {' '.join(map(str, command))}\n{err[-2000:]}")
    return json.loads(out[out.index("{"):]), time.time() - began


def with_peak(command, threads):
    """The same under a small parent of its own, whose only child it is, so that the peak is that child's."""
    code = (
        "import json,resource,subprocess,sys\n"
        "r=subprocess.run(sys.argv[1:],stdout=subprocess.PIPE,text=True)\n"
        "if r.returncode: sys.exit(r.returncode)\n"
        "out=json.loads(r.stdout[r.stdout.index('{'):])\n"
        "print(json.dumps({'out':out,'peak':resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss*1024}))\n"
    )
    report, wall = timed([sys.executable, "-c", code, *map(str, command)], threads)
    return report["out"], wall, report["peak"]


def same(a, b):
    """Share of equal voxels of two segmentations."""
    import SimpleITK as sitk

    x, y = (sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in (a, b))
    return float((x == y).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="nnU-Net v2 result folder")
    parser.add_argument("--image", help="the case")
    parser.add_argument("--bundle", help="the same model compiled by mnxc")
    parser.add_argument("--bin", type=Path, default=Path("target/release"))
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    parser.add_argument("--scratch", type=Path, help="where segmentations go")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        nnunet_case(*args.case)
        return
    theirs, ours = args.scratch / "nnunet.nii.gz", args.scratch / "mnx.nii.gz"
    commands = {
        "nnU-Net v2": [sys.executable, __file__, "--case", args.folder, args.image, theirs],
        "mnx": [args.bin / "mnx", "predict", args.bundle, "-i", args.image, "-o", ours, "--quiet", "--json", "--threads", args.threads],
    }
    runs = {name: [] for name in commands}
    for _ in range(args.runs):
        for name, command in commands.items():
            out, wall, peak = with_peak(command, args.threads)
            if name == "mnx":
                s = out["seconds"]
                out = {"read": s["read"], "preprocess": s["prepare"], "network": s["network"]}
                out["export"] = s["restore"] + s["postprocess"] + s["write"]
                out["start"] = wall - sum(out.values())
            runs[name].append({**{p: out[p] for p in PHASES}, "wall": wall, "peak": peak})
    medians = {n: {k: statistics.median(r[k] for r in rs) for k in rs[0]} for n, rs in runs.items()}
    equal = same(theirs, ours)
    report = {"image": Path(args.image).name, "threads": args.threads, "runs": args.runs, "equal_voxels": equal, "median": medians}
    lines = [
        f"One case (`{Path(args.image).name}`), {args.threads} threads, median of {args.runs} runs in turn, seconds; {100 * equal:.4f} % of voxels equal.",
        "",
        "| | " + " | ".join(PHASES) + " | whole | peak MB |",
        "|---" * (len(PHASES) + 3) + "|",
    ]
    for name, m in medians.items():
        cells = [f"{m[p]:.2f}" for p in PHASES] + [f"{m['wall']:.2f}", f"{m['peak'] / 1e6:.0f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    print(text, end="")
    for name, content in [("nnunet.json", json.dumps(report, indent=1) + "\n"), ("nnunet.md", text)]:
        temporary = args.out / (name + ".tmp")
        temporary.write_text(content)
        temporary.replace(args.out / name)


if __name__ == "__main__":
    main()
