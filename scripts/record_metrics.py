#!/usr/bin/env python3
"""Records surface Dice, HD95 and overlap counts from SciPy into crates/volume/tests/fixtures/metrics.txt.

    pip install numpy scipy && scripts/record_metrics.py

The definitions are those at the head of crates/volume/src/metrics/mod.rs, in SciPy's words: surfaces by binary erosion with the
six-neighbourhood (beyond the border is background; axes of one voxel dropped), distances by distance_transform_edt with the
spacing, percentiles by NumPy. Recorded with NumPy 2.4.6 and SciPy 1.17.1. One line per case and class:
    z y x | spacing | tolerance | prediction as "label*run" | reference | label | tp fp fn tn | dice | surface dice | hd95
"""

import pathlib

import numpy as np
from scipy import ndimage

rng = np.random.default_rng(20261123)


def blobs(shape, labels):
    """Smooth random label map: as many labels as noise fields, the largest field wins above a threshold."""
    fields = [ndimage.gaussian_filter(rng.standard_normal(shape), 1.6) for _ in range(labels)]
    fields = np.stack([f / f.std() for f in fields])
    return np.where(fields.max(0) > 0.9, fields.argmax(0) + 1, 0).astype(np.uint16)


def shaken(labels):
    """The same map shifted by up to a voxel, with some voxels changed."""
    out = np.roll(labels, rng.integers(-1, 2, 3), (0, 1, 2))
    flip = rng.random(out.shape) < 0.02
    return np.where(flip, rng.integers(0, labels.max() + 1, out.shape), out).astype(np.uint16)


def surface(mask):
    thick = [n > 1 for n in mask.shape]
    flat = mask.reshape([n for n in mask.shape if n > 1] or [1])
    if not any(thick):
        return np.zeros_like(mask)
    return (flat ^ ndimage.binary_erosion(flat)).reshape(mask.shape)


def surface_scores(p, r, spacing, tolerance):
    if not p.any() and not r.any():
        return np.nan, np.nan
    if not p.any() or not r.any():
        return 0.0, np.inf
    sp, sr = surface(p), surface(r)
    to_r = ndimage.distance_transform_edt(~sr, sampling=spacing)[sp]
    to_p = ndimage.distance_transform_edt(~sp, sampling=spacing)[sr]
    # As in mnx, a millionth of slack: spacings are not exact in binary.
    limit = tolerance * (1 + 1e-6)
    dice = ((to_r <= limit).sum() + (to_p <= limit).sum()) / (len(to_r) + len(to_p))
    return dice, max(np.percentile(to_r, 95), np.percentile(to_p, 95))


def runs(volume):
    flat = volume.ravel()
    cuts = np.flatnonzero(np.diff(flat)) + 1
    return " ".join(f"{part[0]}*{len(part)}" for part in np.split(flat, cuts))


def main():
    cases = [
        ((9, 13, 11), (1.0, 1.0, 1.0), 1.0, 2),
        ((7, 15, 17), (3.0, 0.7, 0.7), 1.0, 3),
        ((13, 5, 21), (0.5, 2.5, 1.25), 2.0, 1),
        ((1, 19, 23), (5.0, 0.9, 0.9), 1.0, 2),
        ((11, 10, 19), (0.1, 0.2, 0.3), 0.5, 2),
    ]
    lines = []
    for shape, spacing, tolerance, labels in cases:
        reference = blobs(shape, labels)
        prediction = shaken(reference)
        # One class that only the reference has, one that none has.
        prediction[prediction == labels] = 0 if labels == 3 else labels
        for label in range(1, labels + 2):
            p, r = prediction == label, reference == label
            tp, fp, fn, tn = (p & r).sum(), (p & ~r).sum(), (~p & r).sum(), (~p & ~r).sum()
            dice = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else np.nan
            surface_dice, hd95 = surface_scores(p, r, spacing, tolerance)
            parts = [
                " ".join(map(str, shape)),
                " ".join(map(str, spacing)),
                str(tolerance),
                runs(prediction),
                runs(reference),
                str(label),
                f"{tp} {fp} {fn} {tn}",
                repr(float(dice)),
                repr(float(surface_dice)),
                repr(float(hd95)),
            ]
            lines.append("|".join(parts) + "\n")
    out = pathlib.Path(__file__).parent.parent / "crates/volume/tests/fixtures/metrics.txt"
    out.write_text("".join(lines))
    print(f"{out}: {len(lines)} lines, NumPy {np.__version__}")


if __name__ == "__main__":
    main()
