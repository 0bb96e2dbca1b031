"""Writes table.txt: which plane order 0 takes where nnU-Net resamples a coarse axis by itself.

Run in this folder, with SciPy installed. Coordinates are nnU-Net's, scale (o + 0.5) - 0.5 with scale = n / m, the planes are those that
scipy.ndimage.map_coordinates takes with order 0 and mode "nearest". All n, m from 1 to 210 but n = m: 43,890 pairs. Per n a 64-bit
number h, from 0 on h = h 1099511628211 xor plane, modulo 2^64, over all m and o in ascending order.
"""
import sys
from pathlib import Path

import numpy as np
import scipy
from scipy.ndimage import map_coordinates

MOST = 210
out, other, pairs = [], 0, 0
for n in range(1, MOST + 1):
    h = 0
    planes = np.arange(n, dtype=float)
    for m in range(1, MOST + 1):
        if n == m:
            continue
        scale = float(n) / m
        at = scale * (np.arange(m) + 0.5) - 0.5
        taken = map_coordinates(planes, [at], order=0, mode="nearest").astype(int)
        naive = np.clip(np.floor((np.arange(m) + 0.5) * n / m - 0.5 + 0.5), 0, n - 1).astype(int)
        other += bool(np.any(taken != naive))
        pairs += 1
        for plane in taken.tolist():
            h = (h * 1099511628211 & (1 << 64) - 1) ^ plane
    out.append(f"{n} {h}")
title = f"SciPy {scipy.__version__}; {pairs} pairs, of which {other} would differ with (o + 0.5) n / m"
Path("table.txt").write_text("\n".join([title, *out]) + "\n")
sys.stdout.write(title + "\n")
