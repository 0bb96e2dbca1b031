"""The runtimes that are timed: each loads one network once, then `run()` is one inference and answers its seconds."""

import json
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np


def read_safetensors(path):
    """Float32 tensors of a safetensors file by name."""
    data = Path(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + size + at for at in entry["data_offsets"])
            tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
    return tensors


def write_safetensors(path, name, array):
    """One float32 tensor as a safetensors file."""
    body = np.ascontiguousarray(array, "<f4").tobytes()
    header = json.dumps({name: {"dtype": "F32", "shape": list(array.shape), "data_offsets": [0, len(body)]}}).encode()
    Path(path).write_bytes(len(header).to_bytes(8, "little") + header + body)


def peak_rss(pid="self"):
    """Peak resident bytes of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{pid}/status has no VmHWM")


class Mnx:
    """`mnx bench --paced`: a process of its own that runs when told to."""

    name = "mnx"

    def __init__(self, binaries, bundle, threads):
        self.binaries, self.bundle, self.threads = binaries, bundle, threads
        self.process = subprocess.Popen(
            [binaries / "mnx", "bench", bundle, "--paced", "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"mnx bench ended with code {self.process.wait()}")
        return float(answer)

    def output(self, x, scratch):
        write_safetensors(scratch / "x.safetensors", "input", x)
        arguments = ["run", self.bundle, "-q", "--input", scratch / "x.safetensors", "--output", scratch / "y.safetensors"]
        subprocess.run([self.binaries / "mnx", *arguments, "--threads", str(self.threads)], check=True)
        return read_safetensors(scratch / "y.safetensors")["out_0"]

    def peak_rss(self):
        return peak_rss(self.process.pid)

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise RuntimeError(f"mnx bench ended with code {self.process.returncode}")


class InProcess:
    """A runtime inside this Python process; `infer()` is one inference of the input it holds."""

    def run(self):
        start = time.perf_counter()
        self.infer()
        return time.perf_counter() - start

    def close(self):
        pass


class OpenVino(InProcess):
    name, package = "OpenVINO", "openvino"

    def __init__(self, model, x, threads):
        import openvino

        options = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        self.request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
        self.x = openvino.Tensor(x, shared_memory=True)
        self.request.set_input_tensor(self.x)

    def infer(self):
        self.request.infer()
        return self.request.get_output_tensor(0).data


class OnnxRuntime(InProcess):
    name, package = "ONNX Runtime", "onnxruntime"

    def __init__(self, model, x, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Its threads spin within a run, not into the next runtime's turn.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.x = x

    def infer(self):
        return self.session.run(["out_0"], {"input": self.x})[0]


class Torch(InProcess):
    """PyTorch eager, in the default memory format: the network's ops as the official code calls them."""

    name, package, channels_last, most_rounds = "PyTorch", "torch", False, 3

    def __init__(self, model, x, threads):
        import torch

        import torch_network

        torch.set_num_threads(threads)
        self.torch = torch
        self.network = torch_network.from_onnx(model)
        self.x = torch.from_numpy(x)
        if self.channels_last:
            self.network = self.network.to(memory_format=torch.channels_last_3d)
            self.x = self.x.to(memory_format=torch.channels_last_3d)

    def infer(self):
        with self.torch.inference_mode():
            return self.network(self.x).numpy()


class TorchChannelsLast(Torch):
    name, channels_last = "PyTorch channels-last", True


class Monai(InProcess):
    """MONAI's MedNeXt. Its S is the official network; its B, M and L are other networks and are not timed."""

    name, package, most_rounds = "MONAI", "monai", 3

    def __init__(self, model, x, threads):
        import torch

        import torch_network

        torch.set_num_threads(threads)
        self.torch = torch
        self.network = torch_network.monai_small(model)
        self.x = torch.from_numpy(x)

    def infer(self):
        with self.torch.inference_mode():
            return self.network(self.x).numpy()


ALWAYS = [OpenVino, OnnxRuntime]
TORCH = [Torch, TorchChannelsLast, Monai]


def versions(kinds):
    """Installed versions of the packages behind these runtimes."""
    return {kind.name: version(kind.package) for kind in kinds}
