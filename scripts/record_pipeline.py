#!/usr/bin/env python3
"""Records what PyTorch predicts on the sample brain: tests/vectors/pipeline.

The network is benches/peers/torch_network.py (the official MedNeXt's forward pass, checked against the official goldens by make bench-peers) with the sample's
weights; crop to the non-zero box, z-score over the crop, 64^3 patches at half steps, Gaussian weights, arg-max of the averaged logits, zeros outside the box.

  record_pipeline.py [--whole] OUT      --whole leaves out the crop, as the vectors of before November 2026 did

Needs torch, nibabel, numpy and safetensors.
"""

import argparse
import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benches/peers"))
from torch_network import Network  # noqa: E402

PATCH = 64
SAMPLE = ROOT / "examples/brain_tissue"


def starts(n):
    """nnU-Net's tile starts at half steps."""
    if n <= PATCH:
        return [0]
    count = int(np.ceil((n - PATCH) / (PATCH / 2))) + 1
    return [int(np.round((n - PATCH) / (count - 1) * i)) for i in range(count)]


def gaussian():
    axis = np.exp(-(((np.arange(PATCH) - PATCH // 2) / (PATCH / 8)) ** 2) / 2)
    return (10 * axis[:, None, None] * axis[None, :, None] * axis[None, None, :]).astype(np.float32)


def dice(a, b):
    return [round(float(2 * ((a == c) & (b == c)).sum() / ((a == c).sum() + (b == c).sum())), 4) for c in (1, 2, 3)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--whole", action="store_true")
    args = parser.parse_args()
    network = Network(load_file(SAMPLE / "weights.safetensors")).eval()

    file = nibabel.load(SAMPLE / "t1.nii.gz")
    image = np.ascontiguousarray(np.asarray(file.dataobj).transpose(2, 1, 0)).astype(np.float64)
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(image)) if not args.whole else tuple(slice(0, n) for n in image.shape)
    crop = image[box]
    crop = ((crop - crop.mean()) / max(crop.std(), 1e-8)).astype(np.float32)
    tiles = [starts(n) for n in crop.shape]
    sums = np.zeros((4, *crop.shape), np.float32)
    total = np.zeros(crop.shape, np.float32)
    weights = gaussian()
    with torch.inference_mode():
        for z in tiles[0]:
            for y in tiles[1]:
                for x in tiles[2]:
                    at = (slice(z, z + PATCH), slice(y, y + PATCH), slice(x, x + PATCH))
                    scores = network(torch.from_numpy(crop[at].copy())[None, None])
                    sums[(slice(None), *at)] += scores[0].numpy() * weights
                    total[at] += weights
            print(f"z {z} of {tiles[0]}", flush=True)
    logits = sums / total
    seg = np.zeros(image.shape, np.uint8)
    seg[box] = logits.argmax(0)

    args.out.mkdir(parents=True, exist_ok=True)
    labels = nibabel.Nifti1Image(np.ascontiguousarray(seg.transpose(2, 1, 0)), file.affine, file.header)
    labels.set_data_dtype(np.uint8)
    labels.to_filename(args.out / "expected_seg.nii.gz")
    save_file({"logits": np.ascontiguousarray(logits[:, ::6, ::6, ::6])}, args.out / "logits_every_6th.safetensors")
    reference = np.asarray(nibabel.load(SAMPLE / "tissue.nii.gz").dataobj).transpose(2, 1, 0)
    half = image.shape[2] // 2
    scores = {
        "left": dice(seg[..., :half], reference[..., :half]),
        "right": dice(seg[..., half:], reference[..., half:]),
        "box": [[s.start, s.stop] for s in box],
        "tiles": tiles,
        "foreground_where_the_image_is_zero": int(((seg > 0) & (image == 0)).sum()),
    }
    (args.out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    print(scores)


main()
