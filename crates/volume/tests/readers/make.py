"""Writes table.txt: what nnU-Net's two nibabel readers hand over for files whose axes are permuted, flipped, oblique or sheared.

Run in this folder, with nibabel and nnunetv2 installed. Per file: its bytes in hexadecimal, then for NibabelIO and
NibabelIOWithReorient a line of shape, spacing, original affine, reoriented affine (the original again for NibabelIO), voxels.
"""
import math
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import nibabel
import numpy as np
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient


def show(values):
    return " ".join(repr(float(v)) for v in np.ravel(values))


def turn(x, y, z):
    return nibabel.eulerangles.euler2mat(z, y, x)


def affine(rotation, size, origin=(-10.5, 20.25, 3.0)):
    out = np.eye(4)
    out[:3, :3] = np.array(rotation) * size
    out[:3, 3] = origin
    return out


PERMUTED = np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0.0]])
SHEAR = affine(PERMUTED @ turn(0.2, 0.3, -0.1), [0.9, 1.7, 3.1])
SHEAR[0, 1] += 0.4
FILES = [
    ("permuted", affine(PERMUTED, [0.9, 1.7, 3.1]), {}),
    ("oblique", affine(turn(0.3, -0.25, 2.9), [0.9, 1.7, 3.1]), {}),
    ("oblique-permuted", affine(PERMUTED @ turn(0.3, -0.2, 0.4), [0.9, 1.7, 3.1]), {}),
    ("sheared", SHEAR, {}),
    # The affine's sizes are not pixdim's: an image that is turned takes them, one that is RAS already does not.
    ("other-sizes", affine(PERMUTED, [0.9, 1.7, 3.1]), {"pixdim": [1, 1.1, 2.2, 3.3, 1, 1, 1, 1]}),
    ("other-sizes-ras", affine(turn(0.1, 0.1, 0.1), [0.9, 1.7, 3.1]), {"pixdim": [1, 1.1, 2.2, 3.3, 1, 1, 1, 1]}),
    ("metres", affine(PERMUTED, [0.9, 1.7, 3.1]), {"xyzt_units": 1}),
    ("no-form", np.eye(4), {"pixdim": [1, 1.1, 2.2, 3.3, 1, 1, 1, 1], "qform_code": 0, "sform_code": 0}),
    ("qform-alone", affine(turn(math.pi, 0.2, 0.1), [0.9, 1.7, 3.1]), {"sform_code": 0}),
]


def main():
    rng = np.random.default_rng(11)
    out = [f"nnunetv2 {version('nnunetv2')}, nibabel {nibabel.__version__}"]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "v.nii")
        for name, matrix, fields in FILES:
            data = rng.integers(-300, 300, size=(4, 3, 5)).astype(np.int16)
            image = nibabel.Nifti1Image(data, matrix)
            image.set_sform(matrix, 2)
            if name != "sheared":
                image.set_qform(matrix, 1)
            nibabel.save(image, path)
            raw = bytearray(Path(path).read_bytes())
            header = np.ndarray((), nibabel.nifti1.header_dtype, buffer=raw)
            for field, value in fields.items():
                header[field] = value
            Path(path).write_bytes(raw)
            out.append(f"file {name} {bytes(raw).hex()}")
            for reader in (NibabelIO(), NibabelIOWithReorient()):
                array, properties = reader.read_images([path])
                stuff = properties["nibabel_stuff"]
                turned = stuff.get("reoriented_affine", stuff["original_affine"])
                shape = " ".join(map(str, array.shape[1:]))
                out.append(" | ".join([shape, show(properties["spacing"]), show(stuff["original_affine"][:3]), show(turned[:3]), show(array)]))
    Path("table.txt").write_text("\n".join(out) + "\n")
    sys.stdout.write(f"{len(FILES)} files\n")


main()
