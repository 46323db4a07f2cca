#!/usr/bin/env python3
"""Turns a PyTorch file (.pth, .pt, .tar) into safetensors, which gst-pirl reads.

  convert-weights.py FILE.pth [MODEL.safetensors] [options]

Finds the network's tensors in whatever nest they were saved in (state_dict, model, classy_state_dict,
a whole TorchScript module), takes the prefix of wrappers off ("module.", "backbone.", "encoder_q.", ...),
leaves names otherwise as they are (torchvision's and timm's are known to gst-pirl), and notes the
architecture and how pictures are to be prepared. Counters (num_batches_tracked) and what is no
tensor stay behind. Needs PyTorch; nothing else in gst-pirl does.

A PyTorch file is a pickle, which can run any code when it is opened: files are opened in PyTorch's
safe mode. --trust opens one that this refuses; use it for your own files only.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import json
import os
import pathlib
import struct
import sys

import torch

# Each architecture's first convolution, by which a network is found in a nest of names.
MARKERS = ("conv1.weight", "features.0.0.weight", "conv_stem.weight")
# Of two networks in one file (a student and its teacher), these are wanted.
PREFERRED = ("module.encoder_q.", "encoder_q.", "online_encoder.", "student.", "module.student.", "state_dict.")
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64",
          torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}
BLOCKS = {(2, 2, 2, 2, False): "resnet18", (3, 4, 6, 3, False): "resnet34", (3, 4, 6, 3, True): "resnet50"}
SHORTEST = 1e-3                 # a standard deviation below is a mistake


def load(path, trust):
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust)
    except Exception as error:  # whatever a foreign file makes the unpickler say
        try:
            return torch.jit.load(path, map_location="cpu").state_dict()
        except Exception:
            pass
        hint = "" if trust else " (if the file is your own, --trust opens it as a program)"
        sys.exit(f"convert-weights: {path} cannot be opened: {str(error).splitlines()[0]}{hint}")


def flatten(value, prefix=""):
    """All tensors of a nest of dictionaries and modules, under dotted names."""
    if isinstance(value, torch.nn.Module):
        value = value.state_dict()
    if isinstance(value, torch.Tensor):
        return {prefix[:-1]: value}
    found = {}
    if hasattr(value, "items"):
        for key, inner in value.items():
            found.update(flatten(inner, f"{prefix}{key}."))
    return found


def choose_prefix(tensors, wanted):
    """What stands before the network's own names."""
    prefixes = sorted({name[:-len(marker)] for name in tensors for marker in MARKERS
                       if name.endswith(marker) and (name == marker or name[-len(marker) - 1] == ".")
                       and tensors[name].ndim == 4 and tensors[name].shape[1] == 3})
    if wanted is not None:
        return wanted
    if not prefixes:
        first = ", ".join(list(tensors)[:5])
        sys.exit("convert-weights: no network that is known here: there is no " + ", ".join(MARKERS)
                 + f" over three channels among the names ({first}, ...); --prefix says what to take")
    if len(prefixes) > 1:
        better = [p for want in PREFERRED for p in prefixes if p.endswith(want)]
        if not better:
            sys.exit("convert-weights: several networks: " + ", ".join(repr(p) for p in prefixes)
                     + "; --prefix says which")
        return better[0]
    return prefixes[0]


def architecture(tensors):
    if "features.0.0.weight" in tensors or "conv_stem.weight" in tensors:
        return "mobilenetv2"
    blocks = [sum(f"layer{stage}.{b}.conv1.weight" in tensors for b in range(99)) for stage in range(1, 5)]
    return BLOCKS.get((*blocks, "layer1.0.conv3.weight" in tensors), "unknown")


def triple(text):
    values = [float(part) for part in text.split(",")]
    if len(values) != 3:
        raise argparse.ArgumentTypeError("three numbers, as in 0.5,0.5,0.5")
    return values


def tensor_bytes(tensor):
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.int16)
    return tensor.numpy().tobytes()


def write(path, tensors, metadata):
    header, offset = {"__metadata__": metadata}, 0
    # Larger elements first keeps every tensor aligned.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    for name in order:
        size = tensors[name].numel() * tensors[name].element_size()
        header[name] = {"dtype": DTYPES[tensors[name].dtype], "shape": list(tensors[name].shape),
                        "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    part = f"{path}.part"
    with open(part, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(tensor_bytes(tensors[name]))
    os.replace(part, path)


def select(found, prefix, half):
    tensors, left = {}, []
    for name, tensor in found.items():
        if not name.startswith(prefix):
            left.append(name)
        elif not name.endswith("num_batches_tracked"):
            tensors[name[len(prefix):]] = tensor
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            sys.exit(f"convert-weights: tensor {name} is of type {tensor.dtype}, which safetensors do not have")
        if half and tensor.is_floating_point():
            tensors[name] = tensor.half()
            if not torch.isfinite(tensors[name]).all():
                sys.exit(f"convert-weights: tensor {name} does not fit into half precision; leave --half out")
    return tensors, left


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("model", nargs="?", help="default: FILE with the suffix .safetensors")
    parser.add_argument("--prefix", help="what stands before the network's names (default: found out)")
    parser.add_argument("--input-size", type=int, default=224, help="side of the picture (%(default)s)")
    parser.add_argument("--mean", type=triple, default=[0.485, 0.456, 0.406], help="default: ImageNet's")
    parser.add_argument("--std", type=triple, default=[0.229, 0.224, 0.225], help="default: ImageNet's")
    parser.add_argument("--class-names", help="text file, a name a line")
    parser.add_argument("--half", action="store_true", help="half precision: half the size")
    parser.add_argument("--trust", action="store_true", help="open files that can run code")
    args = parser.parse_args()
    if min(args.std) < SHORTEST:
        parser.error("--std: three numbers above 0")
    found = flatten(load(args.file, args.trust))
    if not found:
        sys.exit(f"convert-weights: {args.file} holds no tensors")
    prefix = choose_prefix(found, args.prefix)
    tensors, left = select(found, prefix, args.half)
    if not tensors:
        sys.exit(f"convert-weights: no name begins with {prefix!r}")
    metadata = {"format": "pt", "architecture": architecture(tensors), "input_size": str(args.input_size),
                "mean": ",".join(map(str, args.mean)), "std": ",".join(map(str, args.std)),
                "source": pathlib.Path(args.file).name}
    if args.class_names:
        metadata["class_names"] = pathlib.Path(args.class_names).read_text().rstrip("\n")
    model = args.model or str(pathlib.Path(args.file).with_suffix(".safetensors"))
    write(model, tensors, metadata)
    print(f"{model}: {metadata['architecture']}, {len(tensors)} tensors, {os.path.getsize(model)} bytes"
          + (f"; the prefix {prefix!r} is gone" if prefix else "")
          + (f"; {len(left)} tensors outside of it stay behind" if left else ""))
    if metadata["architecture"] == "unknown":
        print("convert-weights: gst-pirl will not know this network: it is no ResNet-18, -34 or -50 and no "
              "MobileNetV2", file=sys.stderr)


if __name__ == "__main__":
    main()
