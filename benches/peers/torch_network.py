"""The same network in PyTorch, its structure and weights read from the exported ONNX file's initialisers."""

import re

import torch
from torch import nn
from torch.nn import functional as F


def weights(path):
    """Initialisers with the official checkpoint's keys."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    kept = [t for t in model.graph.initializer if not t.name.startswith("const.")]
    return {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in kept}


class Block(nn.Module):
    """Depthwise convolution, norm per channel, expand, GELU, compress; residual. As the official code runs it."""

    def __init__(self, tensors, form):
        super().__init__()
        self.form = form
        k = tensors["conv1.weight"].shape[2]
        c = tensors["conv1.weight"].shape[0]
        hidden, out = tensors["conv2.weight"].shape[0], tensors["conv3.weight"].shape[0]
        step = {"kernel_size": k, "padding": k // 2, "groups": c, "stride": 1 if form == "plain" else 2}
        self.conv1 = (nn.ConvTranspose3d if form == "up" else nn.Conv3d)(c, c, **step)
        self.norm = nn.GroupNorm(c, c)
        self.conv2, self.conv3 = nn.Conv3d(c, hidden, 1), nn.Conv3d(hidden, out, 1)
        if form != "plain":
            self.res_conv = (nn.ConvTranspose3d if form == "up" else nn.Conv3d)(c, out, 1, stride=2)
        self.load_state_dict(tensors)

    def forward(self, x):
        y = self.conv3(F.gelu(self.conv2(self.norm(self.conv1(x)))))
        if self.form == "plain":
            return x + y
        skip = self.res_conv(x)
        if self.form == "up":
            y, skip = F.pad(y, (1, 0) * 3), F.pad(skip, (1, 0) * 3)
        return y + skip


class Network(nn.Module):
    def __init__(self, tensors):
        super().__init__()

        def under(prefix):
            return {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + ".")}

        def stage(name):
            count = len({m[1] for k in tensors if (m := re.match(rf"{name}\.(\d+)\.", k))})
            return nn.Sequential(*(Block(under(f"{name}.{i}"), "plain") for i in range(count)))

        self.stem = nn.Conv3d(*tensors["stem.weight"].shape[1::-1], 1)
        self.stem.load_state_dict(under("stem"))
        self.enc = nn.ModuleList(stage(f"enc_block_{i}") for i in range(4))
        self.down = nn.ModuleList(Block(under(f"down_{i}"), "down") for i in range(4))
        self.bottleneck = stage("bottleneck")
        self.up = nn.ModuleList(Block(under(f"up_{i}"), "up") for i in range(4))
        self.dec = nn.ModuleList(stage(f"dec_block_{i}") for i in range(4))
        self.head = nn.ConvTranspose3d(*tensors["out_0.conv_out.weight"].shape[:2], 1)
        self.head.load_state_dict(under("out_0.conv_out"))

    def forward(self, x):
        x, skips = self.stem(x), []
        for enc, down in zip(self.enc, self.down):
            x = enc(x)
            skips.append(x)
            x = down(x)
        x = self.bottleneck(x)
        for i in (3, 2, 1, 0):
            x = self.dec[i](skips[i] + self.up[i](x))
        return self.head(x)


def from_onnx(path):
    """The network in PyTorch."""
    return Network(weights(path)).eval()


def monai_key(key):
    """MONAI's name for an official key."""
    key = re.sub(r"^enc_block_(\d)", r"enc_stages.\1", key)
    key = re.sub(r"^down_(\d)", r"down_blocks.\1", key)
    key = re.sub(r"^up_(\d)", lambda m: f"up_blocks.{3 - int(m[1])}", key)
    return re.sub(r"^dec_block_(\d)", lambda m: f"dec_stages.{3 - int(m[1])}", key)


def monai_small(path):
    """MONAI's MedNeXt-S with these weights."""
    from monai.networks.nets import MedNeXt

    tensors = {monai_key(k): v for k, v in weights(path).items()}
    network = MedNeXt(
        in_channels=tensors["stem.weight"].shape[1],
        out_channels=tensors["out_0.conv_out.weight"].shape[1],
        kernel_size=tensors["enc_stages.0.0.conv1.weight"].shape[2],
        use_residual_connection=True,
    )
    missing = network.load_state_dict(tensors, strict=False)
    if missing.unexpected_keys or [k for k in missing.missing_keys if "dummy" not in k]:
        raise RuntimeError(f"MONAI's network does not take these weights: {missing}")
    return network.eval()
