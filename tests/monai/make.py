"""Makes the files beside it: a MONAI bundle, two images, and what MONAI's own pipeline makes of them.

Needs MONAI 1.6, PyTorch 2, nibabel. Weights are drawn by the test formula (`mnx_weights::golden_weight`), which the tests repeat, so that no
checkpoint has to be stored. Run it in this folder: python make.py
"""

import copy
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser, init_bundle
from monai.inferers import SliceInferer, sliding_window_inference
from monai.networks.nets import MedNeXt
from monai.transforms import Compose, EnsureChannelFirstd, Invertd, LoadImaged, NormalizeIntensityd, Orientationd

HERE = Path(__file__).parent
MASK = (1 << 64) - 1


def mix(z):
    z ^= z >> 30
    z = z * 0xBF58476D1CE4E5B9 & MASK
    z ^= z >> 27
    z = z * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def det(name, n):
    key = 0xCBF29CE484222325
    for byte in name.encode():
        key = (key ^ byte) * 0x100000001B3 & MASK
    return np.array([2.0 * ((mix(key + i * 0x9E3779B97F4A7C15 & MASK) >> 40) / (1 << 24)) - 1.0 for i in range(1, n + 1)])


def golden_weight(case, key, shape):
    v = det(f"{case}/{key}", int(np.prod(shape)))
    if ".norm.weight" in key:
        v = 1.0 + 0.2 * v
    elif key.endswith(".bias"):
        v = 0.1 * v
    else:
        v = v * np.sqrt(3.0 / max(int(np.prod(shape[1:])), 1))
    return torch.tensor(v.astype(np.float32).reshape(shape))


def network(case, dims):
    net = MedNeXt(spatial_dims=dims, init_filters=4, in_channels=2, out_channels=3, kernel_size=3, blocks_down=(1, 1, 1, 1),
                  blocks_bottleneck=1, blocks_up=(1, 1, 1, 1), use_residual_connection=True).eval()
    net.load_state_dict({k: golden_weight(case, k, tuple(t.shape)) for k, t in net.state_dict().items()})
    return net


def images():
    """Two channels of soft blobs with noise, axes P, I, R, voxels of 1.1 x 2.5 x 0.9 mm."""
    rng = np.random.default_rng(10)
    shape = (38, 23, 41)
    affine = np.array([[0, 0, 0.9, -17], [-1.1, 0, 0, 20], [0, -2.5, 0, 31], [0, 0, 0, 1.0]])
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    for name in "ab":
        v = np.zeros(shape)
        for _ in range(5):
            centre, width = rng.uniform(0, 1, 3) * shape, rng.uniform(4, 9)
            v += rng.uniform(40, 90) * np.exp(-((grid - centre) ** 2).sum(-1) / (2 * width**2))
        v = np.maximum(np.round(v + rng.normal(0, 2, shape)), 0)
        nib.save(nib.Nifti1Image(v.astype(np.int16), affine), HERE / f"{name}.nii.gz")
    return [str(HERE / "a.nii.gz"), str(HERE / "b.nii.gz")]


METADATA = {
    "version": "0.0.1", "name": "Two blobs", "task": "made-up labels", "monai_version": "1.6.1", "pytorch_version": "2", "numpy_version": "2",
    "network_data_format": {
        "inputs": {"image": {"type": "image", "format": "magnitude", "modality": "MR", "num_channels": 2, "spatial_shape": [32, 32, 16],
                             "dtype": "float32", "value_range": [0, 1], "is_patch_data": True, "channel_def": {"0": "T1", "1": "T2"}}},
        "outputs": {"pred": {"type": "image", "format": "segmentation", "num_channels": 3, "spatial_shape": [32, 32, 16], "dtype": "float32",
                             "value_range": [0, 2], "is_patch_data": True, "channel_def": {"0": "background", "1": "left blob", "2": "right blob"}}},
    },
}

INFERENCE = {
    "imports": ["$import glob"],
    "bundle_root": ".", "dataset_dir": "data", "roi_size": "$(32, 32, 16)", "amount": 0.5, "orientation": "RAS",
    "device": "$torch.device('cpu')",
    "network_def": {"_target_": "MedNeXt", "spatial_dims": 3, "init_filters": 4, "in_channels": 2, "out_channels": 3, "kernel_size": 3,
                    "blocks_down": [1, 1, 1, 1], "blocks_bottleneck": 1, "blocks_up": [1, 1, 1, 1], "use_residual_connection": True},
    "network": "$@network_def.to(@device)",
    "preprocessing": {"_target_": "Compose", "transforms": [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "@orientation"},
        {"_target_": "ScaleIntensityRangePercentilesd", "keys": "image", "lower": 1, "upper": 98.5, "b_min": 0.0, "b_max": 1.0, "clip": True,
         "channel_wise": True},
        {"_target_": "EnsureTyped", "keys": "image", "device": "@device"},
    ]},
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@roi_size", "sw_batch_size": 2, "overlap": "@amount", "mode": "gaussian"},
    "postprocessing": {"_target_": "Compose", "transforms": [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image", "nearest_interp": False, "to_tensor": True},
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {"_target_": "SaveImaged", "_disabled_": True, "keys": "pred", "output_dir": "eval"},
    ]},
}


def save(pred, name):
    image = nib.load(HERE / "a.nii.gz")
    labels = np.asarray(pred).astype(np.uint8)
    assert labels.shape == image.shape, labels.shape
    print(name, np.bincount(labels.ravel()) / labels.size)
    nib.save(nib.Nifti1Image(labels, image.affine), HERE / f"{name}.nii.gz")


def main():
    files = images()
    bundle = HERE / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    init_bundle(str(bundle), metadata_str=METADATA, inference_str=copy.deepcopy(INFERENCE))
    # Its weights are made by the tests, and the folders that init_bundle leaves empty say nothing.
    for rest in ["docs", "models", "LICENSE"]:
        path = bundle / rest
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    # The bundle, by its own configs.
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    item = parser.get_parsed_content("preprocessing")({"image": files})
    with torch.no_grad():
        item["pred"] = parser.get_parsed_content("inferer")(item["image"][None], network("bundle", 3))[0]
    save(parser.get_parsed_content("postprocessing")(item)["pred"][0], "bundle_pred")

    # State dicts: what mnxc import takes where nothing tells, in 3-D and slice by slice.
    before = Compose([LoadImaged("image"), EnsureChannelFirstd("image"), Orientationd("image", axcodes="RAS"),
                      NormalizeIntensityd("image", channel_wise=True)])
    after = Invertd("pred", before, "image", nearest_interp=False)
    for case, dims in [("volume", 3), ("slices", 2)]:
        net = network(case, dims)
        item = before({"image": files})
        with torch.no_grad():
            if dims == 3:
                item["pred"] = sliding_window_inference(item["image"][None], (32, 32, 16), 1, net)[0]
            else:
                item["pred"] = SliceInferer(roi_size=(32, 16), spatial_dim=2)(item["image"][None], net)[0]
        save(after(item)["pred"].argmax(0), f"{case}_pred")


main()
