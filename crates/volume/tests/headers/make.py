"""Writes table.tsv: small NIfTI headers and what nibabel and SimpleITK read from them.

Run in this folder, with nibabel and SimpleITK installed. A file is 1024 bytes of header and padding replaced as the table says,
followed by nothing: byte i of a base beyond its header is (7 i) mod 251, so the voxel values tell where reading began.

Lines (fields divided by tabs):
  base  NAME  HEX                        the header's bytes, trailing ramp left out
  case  NAME  BASE  OFFSET=HEX ...       bytes put over the base
    nibabel  x y z ...  | 12 affine numbers | zooms | orientation | first last voxel
    sitk     x y z ...  | spacing | origin | direction | first last voxel
  or, for either, `refused REASON`.
"""
import logging
import math
import struct
import sys
import tempfile
import warnings
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK

TOTAL = 1024
NAN, INF = float("nan"), float("inf")
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)

# name: offset and struct format in NIfTI-1 and NIfTI-2.
FIELDS = {
    "datatype": ((70, "h"), (12, "h")), "bitpix": ((72, "h"), (14, "h")), "dim": ((40, "8h"), (16, "8q")),
    "intent_code": ((68, "h"), (504, "i")), "pixdim": ((76, "8f"), (104, "8d")), "vox_offset": ((108, "f"), (168, "q")),
    "scl_slope": ((112, "f"), (176, "d")), "scl_inter": ((116, "f"), (184, "d")), "slice_start": ((74, "h"), (224, "q")),
    "slice_end": ((120, "h"), (232, "q")), "slice_code": ((122, "b"), (496, "i")), "xyzt_units": ((123, "B"), (500, "i")),
    "qform_code": ((252, "h"), (344, "i")), "sform_code": ((254, "h"), (348, "i")), "quatern": ((256, "3f"), (352, "3d")),
    "qoffset": ((268, "3f"), (376, "3d")), "srow": ((280, "12f"), (400, "12d")), "magic": ((344, "4s"), (4, "8s")),
}


def put(raw, big, two, name, *values):
    at, form = FIELDS[name][1 if two else 0]
    struct.pack_into((">" if big else "<") + form, raw, at, *values)


def quaternion(r):
    """b, c, d and qfac of a matrix of unit columns."""
    r = np.array(r, float)
    qfac = 1.0 if np.linalg.det(r) > 0 else -1.0
    r[:, 2] *= qfac
    q = nibabel.quaternions.mat2quat(r)
    q = q if q[0] >= 0 else -q
    return q[1:], qfac


def turn(x, y, z):
    return nibabel.eulerangles.euler2mat(z, y, x)


SIZE = np.array([1.5, 2.0, 2.5])
ORIGIN = [-3.0, 4.0, 5.0]


def geometry(rotation=np.eye(3), size=SIZE, origin=ORIGIN):
    """Fields of both forms for one grid."""
    bcd, qfac = quaternion(rotation)
    srow = np.hstack([np.array(rotation) * size, np.array(origin)[:, None]])
    return {"pixdim": [qfac, *size, 1, 1, 1, 1], "quatern": list(bcd), "qoffset": list(origin), "srow": list(srow.ravel())}


PLAIN = {
    "dim": [3, 3, 4, 5, 1, 1, 1, 1], "datatype": [2], "bitpix": [8], "scl_slope": [1], "scl_inter": [0], "xyzt_units": [10],
    "qform_code": [1], "sform_code": [1], **geometry(),
}


def base(big, two):
    size = 544 if two else 352
    raw = bytearray(TOTAL)
    for i in range(size, TOTAL):
        raw[i] = 7 * i % 251
    struct.pack_into((">" if big else "<") + "i", raw, 0, 540 if two else 348)
    put(raw, big, two, "magic", b"n+2\0\r\n\x1a\n" if two else b"n+1\0")
    put(raw, big, two, "vox_offset", size)
    for name, values in PLAIN.items():
        put(raw, big, two, name, *values)
    return raw


CASES = []


def case(name, kind="one", **fields):
    CASES.append((name, kind, {k: v if isinstance(v, (list, tuple)) else [v] for k, v in fields.items()}))


def pix(x=1.5, y=2.0, z=2.5, qfac=1.0):
    return [qfac, x, y, z, 1, 1, 1, 1]


case("plain")
case("plain-big", "big")
case("plain-two", "two")
case("plain-two-big", "two-big")
# Units.
for unit, word in [(0, "none"), (1, "metre"), (2, "millimetre"), (3, "micrometre"), (4, "reserved-4"), (7, "reserved-7")]:
    for time in (0, 8, 16, 24):
        if time in (0, 8) or unit in (1, 3):
            case(f"unit-{word}-time-{time}", xyzt_units=unit + time)
case("metre-two", "two", xyzt_units=1)
case("micrometre-two-big", "two-big", xyzt_units=3)
case("metre-big", "big", xyzt_units=9)
case("metre-small", xyzt_units=1, **geometry(size=SIZE / 1000, origin=[-0.003, 0.004, 0.005]))
case("micrometre-large", xyzt_units=3, **geometry(size=SIZE * 1000, origin=[-3000, 4000, 5000]))
case("metre-qform-alone", xyzt_units=1, sform_code=0)
case("metre-sform-alone", xyzt_units=1, qform_code=0)
case("metre-no-form", xyzt_units=1, qform_code=0, sform_code=0)
case("micrometre-no-form", xyzt_units=3, qform_code=0, sform_code=0)
# Codes, both forms alike.
for q in (0, 1, 2, 4):
    for s in (0, 1, 2, 3, 4):
        case(f"codes-{q}-{s}", qform_code=q, sform_code=s)
case("code-5", qform_code=5, sform_code=5)
case("code-6-unknown", qform_code=6, sform_code=0)
case("code-negative", qform_code=-1, sform_code=-1)
case("no-form-two", "two", qform_code=0, sform_code=0)
case("no-form-scaled", qform_code=0, sform_code=0, scl_slope=2, scl_inter=3)
# The two forms disagree.
OTHER = geometry(turn(0.3, -0.2, 0.1), origin=[10, 20, 30])
CONFLICT = {"quatern": OTHER["quatern"], "qoffset": OTHER["qoffset"]}
for q, s in [(1, 1), (1, 2), (2, 1), (2, 2), (0, 2), (1, 0), (4, 4), (3, 2)]:
    case(f"conflict-{q}-{s}", qform_code=q, sform_code=s, **CONFLICT)
case("flipped-sform", srow=[-1.5, 0, 0, 3, 0, 2, 0, 4, 0, 0, 2.5, 5])
case("flipped-sform-2-2", qform_code=2, sform_code=2, srow=[-1.5, 0, 0, 3, 0, 2, 0, 4, 0, 0, 2.5, 5])
case("sform-other-size", srow=[3, 0, 0, -3, 0, 4, 0, 4, 0, 0, 5, 5])
case("sform-other-size-2-2", qform_code=2, sform_code=2, srow=[3, 0, 0, -3, 0, 4, 0, 4, 0, 0, 5, 5])
case("sform-other-size-alone", qform_code=0, sform_code=1, srow=[3, 0, 0, -3, 0, 4, 0, 4, 0, 0, 5, 5])
case("sform-close", qform_code=2, sform_code=2, srow=[1.50001, 0, 0, -3, 0, 2, 0, 4, 0, 0, 2.5, 5])
case("sform-close-origin", qform_code=2, sform_code=2, srow=[1.5, 0, 0, -3.00005, 0, 2, 0, 4, 0, 0, 2.5, 5])
# Rotations.
for name, r in [("oblique", turn(0.3, -0.2, 0.1)), ("oblique-60", turn(0.1, 0.2, 1.05)), ("half-turn-x", turn(math.pi, 0, 0)),
                ("half-turn-z", turn(0, 0, math.pi)), ("half-turn-slanted", turn(math.pi, 0.3, 0)), ("quarter-turn", turn(0, math.pi / 2, 0)),
                ("left-handed", np.diag([-1, 1, 1]) @ turn(0.1, 0.2, -0.3)), ("permuted", np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0.0]]))]:
    for q, s in [(1, 0), (0, 1), (1, 1)]:
        case(f"{name}-{q}-{s}", qform_code=q, sform_code=s, **geometry(r))
# Affines that are no rotation.
SHEAR = [1.5, 0.3, 0, -3, 0, 2, 0, 4, 0, 0, 2.5, 5]
case("sheared-alone", qform_code=0, srow=SHEAR)
case("sheared-with-qform", srow=SHEAR)
case("slightly-sheared", qform_code=0, srow=[1.5, 1e-4, 0, -3, 0, 2, 0, 4, 0, 0, 2.5, 5])
case("singular-alone", qform_code=0, srow=[1.5, 0, 0, -3, 0, 2, 0, 4, 0, 0, 0, 5])
case("singular-with-qform", srow=[1.5, 0, 0, -3, 0, 2, 0, 4, 0, 0, 0, 5])
case("zero-sform", srow=[0] * 12)
case("zero-sform-alone", qform_code=0, srow=[0] * 12)
case("nan-sform-alone", qform_code=0, srow=[NAN, 0, 0, -3, 0, 2, 0, 4, 0, 0, 2.5, 5])
case("nan-origin-alone", qform_code=0, srow=[1.5, 0, 0, NAN, 0, 2, 0, 4, 0, 0, 2.5, 5])
case("far-origin", qform_code=0, **{**geometry(turn(0.3, -0.2, 0.1), origin=[-755, 400, 1200])})
# Quaternions.
case("quaternion-rounded-up", sform_code=0, quatern=[0.6, 0.8, 1e-4])
case("quaternion-rounded-down", sform_code=0, quatern=[0.6, 0.7999998, 0])
case("quaternion-too-long", sform_code=0, quatern=[0.8, 0.8, 0.2])
case("quaternion-nan", sform_code=0, quatern=[NAN, 0, 0])
for qfac in (0, -1, 2, -2, NAN):
    case(f"qfac-{qfac:g}", sform_code=0, pixdim=pix(qfac=qfac), quatern=OTHER["quatern"])
# Voxel sizes.
for word, value in [("zero", 0.0), ("negative", -2.0), ("nan", NAN), ("inf", INF), ("tiny", 1e-9), ("huge", 1e9)]:
    case(f"pixdim-{word}", pixdim=pix(y=value))
    case(f"pixdim-{word}-qform-alone", sform_code=0, pixdim=pix(y=value))
    case(f"pixdim-{word}-no-form", sform_code=0, qform_code=0, pixdim=pix(y=value))
case("pixdim-all-zero", pixdim=[0] * 8)
case("pixdim-all-zero-no-form", pixdim=[0] * 8, sform_code=0, qform_code=0)
case("pixdim-negative-x-no-form", sform_code=0, qform_code=0, pixdim=pix(x=-1.5))
case("pixdim-negative-z-qform-alone", sform_code=0, pixdim=pix(z=-2.5))
# Where the voxels begin.
for offset in (0, 348, 352, 353, 360.5, 400, -8, 100, NAN):
    case(f"offset-{offset:g}", vox_offset=offset)
case("offset-0-two", "two", vox_offset=0)
case("offset-560-two", "two", vox_offset=560)
# Axes.
case("dim-1", dim=[1, 7, 1, 1, 1, 1, 1, 1])
case("dim-2", dim=[2, 3, 4, 1, 1, 1, 1, 1])
case("dim-2-zeros", dim=[2, 3, 4, 0, 0, 0, 0, 0], pixdim=[1, 1.5, 2, 0, 0, 0, 0, 0])
case("dim-3-flat", dim=[3, 3, 4, 1, 1, 1, 1, 1])
case("dim-4-single", dim=[4, 3, 4, 5, 1, 1, 1, 1])
case("dim-4", dim=[4, 3, 4, 5, 2, 1, 1, 1])
case("dim-5-vector", dim=[5, 3, 4, 5, 1, 2, 1, 1], intent_code=1007)
case("dim-7", dim=[7, 3, 2, 2, 1, 1, 2, 2])
case("dim-0", dim=[0, 3, 4, 5, 1, 1, 1, 1])
case("dim-8", dim=[8, 3, 4, 5, 1, 1, 1, 1])
case("dim-zero-axis", dim=[3, 3, 0, 5, 1, 1, 1, 1])
case("dim-negative-axis", dim=[3, 3, -4, 5, 1, 1, 1, 1])
# Scaling.
for slope, inter in [(0, 0), (0, 9), (2, 3), (NAN, 9), (2, NAN), (INF, 0), (1, INF), (1, 5), (-1, 0), (1e-20, 0)]:
    case(f"scale-{slope:g}-{inter:g}", scl_slope=slope, scl_inter=inter)
case("slices", slice_start=0, slice_end=4, slice_code=3)
case("slices-wrong", slice_start=3, slice_end=1, slice_code=9)


def show(values):
    return " ".join(repr(float(v)) for v in np.ravel(values))


def line(error):
    return " ".join(str(error).split())[:60]


def by_nibabel(path):
    try:
        image = nibabel.load(path)
        data = np.asarray(image.get_fdata(caching="unchanged")).ravel(order="F")
        letters = "".join(str(c) for c in nibabel.aff2axcodes(image.affine))
        return " | ".join([" ".join(map(str, image.shape)), show(image.affine[:3]), show(image.header.get_zooms()[:3]), letters,
                           show([data[0], data[-1]])])
    except Exception as e:  # any refusal is an answer
        return f"refused {type(e).__name__}"


def by_sitk(path):
    try:
        image = SimpleITK.ReadImage(path)
        data = SimpleITK.GetArrayFromImage(image).ravel()
        return " | ".join([" ".join(map(str, image.GetSize())), show(image.GetSpacing()), show(image.GetOrigin()),
                           show(image.GetDirection()), show([data[0], data[-1]])])
    except Exception as e:
        return f"refused {type(e).__name__}"


def main():
    kinds = {"one": (False, False), "big": (True, False), "two": (False, True), "two-big": (True, True)}
    bases = {name: base(*flags) for name, flags in kinds.items()}
    out = [f"nibabel {nibabel.__version__}, SimpleITK {SimpleITK.Version_VersionString()}"]
    for name, raw in bases.items():
        out.append(f"base\t{name}\t{raw[:544 if kinds[name][1] else 352].hex()}")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "v.nii")
        for name, kind, fields in CASES:
            big, two = kinds[kind]
            raw = bytearray(bases[kind])
            for field, values in fields.items():
                put(raw, big, two, field, *[int(v) if FIELDS[field][two][1][-1] not in "fd" else v for v in values])
            patches, i = [], 0
            while i < TOTAL:
                j = i
                while j < TOTAL and raw[j] != bases[kind][j]:
                    j += 1
                if j > i:
                    patches.append(f"{i}={raw[i:j].hex()}")
                i = j + 1
            Path(path).write_bytes(raw)
            out.append("\t".join(["case", name, kind, " ".join(patches), by_nibabel(path), by_sitk(path)]))
    Path("table.tsv").write_text("\n".join(out) + "\n")
    sys.stdout.write(f"{len(CASES)} headers\n")


main()
