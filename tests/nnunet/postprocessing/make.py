"""Makes the files beside it with nnU-Net 2.8's own `determine_postprocessing`: predictions with stray voxels that its steps remove.

labels.* is of a data set of three labels, regions.* of one with regions. Run it in this folder: python make.py
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from nnunetv2.postprocessing.remove_connected_components import determine_postprocessing

HERE = Path(__file__).parent
DATA = {
    "labels": {"background": 0, "liver": 1, "spleen": 2, "kidneys": 3},
    "regions": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "edge": [3]},
}


def main():
    for name, labels in DATA.items():
        with tempfile.TemporaryDirectory() as tmp:
            truth, pred = Path(tmp) / "truth", Path(tmp) / "pred"
            for folder in (truth, pred):
                folder.mkdir()
            rng = np.random.default_rng(3)
            for case in range(2):
                v = np.zeros((16, 16, 16), np.uint8)
                for label in (1, 2, 3):
                    v[3:12, 3:12, 3 * label : 3 * label + 3] = label
                sitk.WriteImage(sitk.GetImageFromArray(v), str(truth / f"c{case}.nii.gz"))
                # Stray voxels far away, of label 2, and of label 3 inside the others.
                v[14, 14, 14], v[0, 0, 0] = 2, 2
                v[5, 5, 4 + rng.integers(2)] = 3
                sitk.WriteImage(sitk.GetImageFromArray(v), str(pred / f"c{case}.nii.gz"))
            dataset = {"labels": labels, "channel_names": {"0": "CT"}, "numTraining": 2, "file_ending": ".nii.gz", "regions_class_order": [1, 2, 3]}
            plans = {"image_reader_writer": "SimpleITKIO", "label_manager": "LabelManager", "configurations": {}, "plans_name": "p", "dataset_name": "d"}
            determine_postprocessing(str(pred), str(truth), plans, dataset, 1, False)
            for end in ("json", "pkl"):
                shutil.copy(pred / f"postprocessing.{end}", HERE / f"{name}.{end}")


if __name__ == "__main__":
    main()
