#!/usr/bin/env python3
"""Writes a stored case's config as TOML and prints its batch and patch: case.py CASE.safetensors OUT.toml (plain python3)."""
import json
import struct
import sys

source, target = sys.argv[1:]
with open(source, "rb") as f:
    header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
case = json.loads(header["__metadata__"]["case"])
with open(target, "w") as out:
    for key, value in case["config"].items():
        if key == "kernel_size" and isinstance(value, list):
            out.write(f"enc_kernel_size = {value[0]}\ndec_kernel_size = {value[1]}\n")
        else:
            out.write(f"{key} = {json.dumps(value)}\n")
shape = case["input"]
print(shape[0], ",".join(map(str, shape[2:])))
