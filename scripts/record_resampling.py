"""Records resampling of small volumes by scikit-image and SciPy, as nnU-Net calls them.

Run from the repository root with scikit-image, SciPy and NumPy; the versions used are in the file's first line.
`resize` is scikit-image's; the separate axis goes through `map_coordinates`, as in nnU-Net's `resample_data_or_seg`.
Line: order order_z separate_axis | z y x | z y x | input numbers | output numbers (separate_axis -1: none).
"""
from pathlib import Path

import numpy as np
import scipy
import skimage
from scipy.ndimage import map_coordinates
from skimage.transform import resize as sk_resize


def resize(a, shape, order):
    return sk_resize(a, shape, order, mode="edge", anti_aliasing=False)


def separate(a, shape, axis, order, order_z):
    plane = [n for i, n in enumerate(shape) if i != axis]
    planes = np.stack([resize(np.take(a, i, axis), plane, order) for i in range(a.shape[axis])], axis)
    if a.shape[axis] == shape[axis]:
        return planes
    where = np.array(np.meshgrid(*[np.arange(n, dtype=float) for n in shape], indexing="ij"))
    for i in range(3):
        where[i] = planes.shape[i] / shape[i] * (where[i] + 0.5) - 0.5
    return map_coordinates(planes, where, order=order_z, mode="nearest")


rng = np.random.default_rng(20261123)
whole = [
    (3, (5, 6, 7), (8, 5, 11)), (3, (9, 4, 3), (4, 4, 9)), (3, (1, 5, 2), (1, 8, 5)),
    (3, (13, 2, 5), (5, 7, 5)), (3, (4, 19, 18), (6, 17, 21)), (3, (31, 1, 2), (7, 1, 3)), (3, (1, 1, 1), (3, 2, 2)),
    (3, (2, 3, 17), (2, 3, 40)), (1, (5, 6, 7), (8, 5, 11)), (1, (3, 1, 9), (7, 4, 5)), (1, (11, 5, 2), (3, 13, 7)),
    (0, (5, 6, 7), (8, 5, 10)), (0, (7, 3, 9), (3, 8, 13)),
]
cases = [(order, 0, -1, a, b) for order, a, b in whole]
for order in (0, 1, 3):
    for order_z in (0, 1, 3):
        cases.append((order, order_z, 0, (4, 6, 7), (7, 9, 5)))
cases += [
    (3, 0, 1, (6, 3, 7), (8, 5, 9)), (3, 0, 2, (6, 7, 4), (5, 9, 7)), (1, 0, 0, (7, 6, 5), (4, 9, 8)),
    (3, 0, 0, (4, 6, 7), (4, 9, 5)), (3, 1, 2, (5, 6, 7), (7, 4, 3)), (3, 3, 1, (5, 9, 4), (6, 5, 5)), (3, 0, 0, (1, 6, 7), (3, 9, 5)),
]
lines = [f"scikit-image {skimage.__version__}, SciPy {scipy.__version__}, NumPy {np.__version__}"]
for order, order_z, axis, shape, to in cases:
    a = (rng.standard_normal(shape) * 100).astype(np.float32)
    wide = a.astype(np.float64)
    b = separate(wide, to, axis, order, order_z) if axis >= 0 else resize(wide, to, order)
    join = lambda v, f: " ".join(f % x for x in v.ravel())
    lines.append(" | ".join([
        f"{order} {order_z} {axis}", " ".join(map(str, shape)), " ".join(map(str, to)), join(a, "%.9g"), join(b, "%.9g"),
    ]))
Path("crates/volume/tests/fixtures/resampled.txt").write_text("\n".join(lines) + "\n")
