#!/usr/bin/env python3
"""ResNet-50 and MobileNetV2 features in PyTorch and ONNX Runtime; one of tests/bench/run's programs.

  embed.py MODEL.safetensors f32|bf16 BATCH THREADS FRAMES [--compile | --onnx FILE]

A turn embeds FRAMES pictures of 256x256 bytes, BATCH at a time: centre crop 224, mean and deviation,
network, mean of the last map. Of the forms that there are the fastest is found before the first turn:
PyTorch with batch norm folded and channels_last, eager, as frozen TorchScript, with --compile also
torch.compile; ONNX Runtime (its CPU kernels have no bf16) with all its optimisations. bf16 is what may
be used, not what must: f32 is the faster one on many processors.
--onnx writes the network for ONNX Runtime to FILE, and no more.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import copy
import io
import json
import pathlib
import struct
import sys
import time
import warnings

import numpy as np
import torch
import torchvision
from torch import nn

import turns

SIDE, CROP, TRIES, HOPELESS = 256, 224, 3, 20
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINDS = {"F16": np.float16, "F32": np.float32}


def read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[begin:end], KINDS[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(values.astype(np.float32))
    return tensors


def network_of(path):
    tensors = read_safetensors(path)
    resnet = "layer1.0.conv1.weight" in tensors
    network = torchvision.models.resnet50() if resnet else torchvision.models.mobilenet_v2()
    missing, unknown = network.load_state_dict(tensors, strict=False)
    lost = [name for name in missing
            if not name.endswith("num_batches_tracked") and not name.startswith("classifier")]
    if lost or unknown:
        sys.exit(f"{path}: missing {lost[:3]}, unknown {unknown[:3]}")
    if resnet:
        network.fc = nn.Identity()
    else:
        network.classifier = nn.Identity()
    return network.eval()


def picture():
    """What embed-bench draws."""
    y, x, c = np.ogrid[:SIDE, :SIDE, :3]
    return (7 * x + 13 * y + 31 * c + x * y // 16).astype(np.uint8)


def prepared(pictures):
    """uint8 n,h,w,3 -> normalised n,3,h,w in channels_last."""
    edge = (SIDE - CROP) // 2
    x = pictures[:, edge:edge + CROP, edge:edge + CROP].permute(0, 3, 1, 2).float()
    scale = 1 / (255 * torch.tensor(STD)).view(1, 3, 1, 1)
    return x * scale - (torch.tensor(MEAN) / torch.tensor(STD)).view(1, 3, 1, 1)


def torch_forms(network, example, dtype, compiled):
    """(name, function) of each form; the functions take uint8 pictures."""
    import torch.fx.experimental.optimization as optimization
    folded = optimization.fuse(copy.deepcopy(network)).to(dtype, memory_format=torch.channels_last)
    x = prepared(example).to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frozen = torch.jit.freeze(torch.jit.trace(folded, x))
        if x.dtype == torch.float32:
            frozen = torch.jit.optimize_for_inference(frozen)
    forms = {"eager": folded, "frozen": frozen}
    if compiled:
        forms["compile"] = torch.compile(folded, dynamic=False)
    for name, form in forms.items():
        yield (f"PyTorch {torch.__version__.split('+')[0]} {name}"
               + " bf16" * (dtype == torch.bfloat16),
               lambda pictures, form=form: form(prepared(pictures).to(x.dtype)).float())


def onnx_file(network, example):
    """The network's bytes in ONNX."""
    try:
        import onnx  # noqa: F401
    except ImportError:
        # Only functions of onnxscript need it, and there are none in these networks.
        from torch.onnx._internal.torchscript_exporter import onnx_proto_utils
        onnx_proto_utils._add_onnxscript_fn = lambda data, functions: data
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(copy.deepcopy(network), (prepared(example),), file, dynamo=False,
                          input_names=["x"])
    return file.getvalue()


def onnx_form(network, example, threads):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(onnx_file(network, example), options,
                                           providers=["CPUExecutionProvider"])
    return (f"ONNX Runtime {onnxruntime.__version__}", lambda pictures: torch.from_numpy(
        session.run(None, {"x": prepared(pictures).contiguous().numpy()})[0]))


def seconds(form, pictures, threads, least):
    """The best time of one call; of what has no hope to come below @least, the first one's."""
    # One thread's CPU time is its wall time on an idle machine; several threads' counts their waits.
    clock = time.process_time if threads == 1 else time.monotonic
    best = float("inf")
    for _ in range(1 + TRIES):
        begin = clock()
        form(pictures)
        best = min(best, clock() - begin)
        if best > HOPELESS * least:
            break
    return best


def main():
    path, precision, (batch, threads, frames) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:6])
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    network = network_of(path)
    pictures = torch.from_numpy(picture()).expand(batch, SIDE, SIDE, 3).contiguous()
    if "--onnx" in sys.argv:
        out = pathlib.Path(sys.argv[sys.argv.index("--onnx") + 1])
        out.write_bytes(onnx_file(network, pictures))
        return
    forms = []
    try:
        forms.append(onnx_form(network, pictures, threads))
    except ImportError as error:
        print(f"embed.py: without ONNX Runtime: {error}", file=sys.stderr)
    for dtype in (torch.float32, torch.bfloat16)[:1 + (precision == "bf16")]:
        forms += torch_forms(network, pictures, dtype, "--compile" in sys.argv)
    times = {}
    for name, form in forms:
        times[name] = seconds(form, pictures, threads, min(times.values(), default=float("inf")))
    name, form = min(forms, key=lambda entry: times[entry[0]])
    for other, least in times.items():
        print(f"embed.py: {other}: {1e3 * least / batch:.2f} ms a picture", file=sys.stderr)

    def turn():
        for _ in range(frames // batch):
            out = form(pictures)
        return frames // batch * batch, out[0].double().norm().item()

    turns.serve(turn, peer_name=name)


if __name__ == "__main__":
    main()
