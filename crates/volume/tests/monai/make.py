"""Writes windows.txt and intensities.txt: MONAI's own answers about sliding windows and intensity transforms.

Run in this folder, with MONAI, PyTorch and nibabel installed. The network of the window cases is `network` below: written once more in
Rust, it knows where in its patch a voxel lies, so that every choice of tile, weight and padding shows.
"""
import sys
import tempfile
from pathlib import Path

import monai
import nibabel
import numpy as np
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import SliceInferer, sliding_window_inference
from monai.inferers.utils import _get_scan_interval
from monai.transforms import Compose, EnsureChannelFirst, LoadImage, NormalizeIntensity, Orientation, ScaleIntensityRange, ScaleIntensityRangePercentiles


def numbers(values):
    return " ".join(f"{float(v):.9g}" for v in np.ravel(values))


def starts(rng):
    """axis patch overlap | tile starts."""
    lines = []
    for i in range(500):
        roi = int(rng.integers(1, 40))
        n = int(rng.integers(1, 120)) if i % 8 else roi
        overlap = float(rng.choice([0, 0.1, 0.2, 0.25, 0.3, 0.5, 0.6, 0.625, 0.7, 0.75, 0.8, 0.9, float(rng.random() * 0.95)]))
        size = max(n, roi)
        interval = _get_scan_interval([size], [roi], 1, [overlap])
        slices = dense_patch_slices([size], [roi], interval)
        lines.append(f"{n} {roi} {overlap!r} | " + " ".join(str(s[0].start) for s in slices))
    return lines


def network(patch):
    """Two outputs of patches [n, c, ...]: scaled by place, and a difference of neighbours with zeros beyond the edge."""
    x = patch.double()
    axes = range(2, x.ndim)
    place = torch.ones_like(x[:, :1])
    for a in axes:
        shape = [1] * x.ndim
        shape[a] = x.shape[a]
        place = place + (a - 1) * 0.05 * torch.arange(x.shape[a], dtype=torch.double).reshape(shape)
    total = x.sum(1, keepdim=True)
    near = total.clone()
    for a in axes:
        moved = torch.zeros_like(total)
        moved.narrow(a, 1, x.shape[a] - 1).copy_(total.narrow(a, 0, x.shape[a] - 1)) if x.shape[a] > 1 else None
        near = near - 0.25 * (a - 1) * moved
    return torch.cat([total * place, near], 1).float()


# name, voxels x y z, file orientation, patch along MONAI's axes, overlap, mode
WINDOWS = [
    ("several", (21, 17, 9), "RAS", (8, 8, 8), 0.25, "gaussian"),
    ("several-constant", (21, 17, 9), "LPS", (8, 6, 4), 0.5, "constant"),
    ("small-axis", (5, 19, 11), "SAR", (8, 8, 6), 0.6, "gaussian"),
    ("small-axes", (6, 5, 17), "PIL", (9, 8, 6), 0.5, "gaussian"),
    ("one-tile", (7, 6, 5), "LPS", (8, 8, 8), 0.25, "gaussian"),
    ("exact", (16, 16, 8), "RAS", (8, 8, 8), 0.5, "gaussian"),
    ("long-patch", (33, 9, 10), "RAI", (20, 7, 5), 0.9, "gaussian"),
    ("thin-overlap", (30, 12, 10), "LAS", (10, 10, 10), 0.1, "gaussian"),
    ("slices", (4, 17, 13), "LPS", (8, 6), 0.5, "gaussian"),
    ("slices-constant", (3, 7, 13), "RAS", (8, 6), 0.25, "constant"),
]


def windows(folder):
    """name | x y z | patch | overlap mode | the file's bytes | every third output [2, x, y, z] on RAS axes."""
    lines = []
    for name, shape, letters, roi, overlap, mode in WINDOWS:
        rng = np.random.default_rng(len(lines) + 3)
        ornt = nibabel.orientations.axcodes2ornt(letters)
        affine = np.eye(4)
        affine[:3, :3] = 0
        for axis, (world, sign) in enumerate(ornt.astype(int)):
            affine[world, axis] = sign * (1.5, 0.75, 2.0)[axis]
        data = rng.integers(0, 200, size=shape).astype(np.uint8)
        data[rng.random(shape) < 0.3] = 0
        path = str(Path(folder) / "v.nii")
        nibabel.save(nibabel.Nifti1Image(data, affine), path)
        prepare = Compose([LoadImage(image_only=True), EnsureChannelFirst(), Orientation(axcodes="RAS"),
                           NormalizeIntensity(nonzero=True, channel_wise=True)])
        image = prepare(path)[None]
        if len(roi) == 2:
            out = SliceInferer(spatial_dim=0, roi_size=roi, sw_batch_size=1, overlap=overlap, mode=mode)(image.as_tensor(), network)
        else:
            out = sliding_window_inference(image.as_tensor(), roi, 3, network, overlap=overlap, mode=mode)
        lines.append(" | ".join([name, " ".join(map(str, shape)), " ".join(map(str, roi)), f"{overlap!r} {mode}", Path(path).read_bytes().hex(),
                                 numbers(out[0].numpy().ravel()[::3])]))
    return lines


def weights():
    """patch | importance map."""
    out = []
    for patch in [(5, 8, 3), (1, 7, 9), (12, 4, 2), (9, 16, 1), (32, 1, 1), (1, 1, 33)]:
        out.append(" ".join(map(str, patch)) + " | " + numbers(compute_importance_map(patch, mode="gaussian").numpy()))
    return out


def draws(n, kind):
    """Arrays that Rust makes again."""
    i = np.arange(n, dtype=np.int64)
    v = (i * 7919 % 10007).astype(np.float64) / 10007
    if kind == "spread":
        out = 400 * v**3 - 100
    elif kind == "holes":
        out = np.where(i * 31 % 7 < 4, 0, 300 * v)
    elif kind == "nearly-empty":
        out = np.where(i % 50 == 0, 10 * v + 1, 0)
    elif kind == "constant":
        out = np.full(n, 37.25)
    elif kind == "tenth":
        out = np.full(n, 0.1)
    else:
        out = np.zeros(n)
    return out.astype(np.float32)


def intensities():
    """kind voxels step | transform and its numbers | every step-th value."""
    kinds = ["spread", "holes", "nearly-empty", "constant", "tenth", "zero"]
    jobs = [(("nonzero",), NormalizeIntensity(nonzero=True, channel_wise=True)), (("zscore",), NormalizeIntensity(channel_wise=True))]
    for a, b, c, d, clip in [(-57, 164, 0, 1, True), (-57, 164, 0, 1, False), (0, 250, -1, 1, True), (-1000, 1000, 2, 5, False)]:
        jobs.append((("range", a, b, c, d, int(clip)), ScaleIntensityRange(a, b, c, d, clip=clip)))
    for a, b, c, d, clip in [(0.5, 99.5, 0, 1, True), (1, 99, -1, 1, False), (0, 100, 0, 1, True), (5, 95, 0, 2, True), (0, 50, 0, 1, True), (10, 97, 0, 1, True)]:
        jobs.append((("percentiles", a, b, c, d, int(clip)), ScaleIntensityRangePercentiles(a, b, c, d, clip=clip, channel_wise=True)))
    out = []
    for kind in kinds:
        for n, step in [(601, 4), (1, 1), (100_000, 1511), (1_000_001, 15013)]:
            if n > 1000 and kind not in ("spread", "holes"):
                continue
            for words, transform in jobs:
                image = torch.from_numpy(draws(n, kind))[None, None, None]
                got = np.asarray(transform(image)).ravel()
                out.append(f"{kind} {n} {step} | " + " ".join(map(str, words)) + " | " + numbers(got[::step]))
    return out


def main():
    rng = np.random.default_rng(4)
    title = f"MONAI {monai.__version__}, PyTorch {torch.__version__}"
    with tempfile.TemporaryDirectory() as folder:
        parts = [title, "starts", *starts(rng), "weights", *weights(), "windows", *windows(folder)]
    Path("windows.txt").write_text("\n".join(parts) + "\n")
    Path("intensities.txt").write_text("\n".join([title, *intensities()]) + "\n")
    sys.stdout.write(title + "\n")


main()
