#!/usr/bin/env python3
"""Makes one step of a run of pirltrainsink in PyTorch, from its checkpoint and on its views.

  pirl_follow.py BEFORE AFTER VIEWS

BEFORE and AFTER: checkpoints of the run with a step between them, all rows of the bank seen. VIEWS:
what pirljigsaw sent until AFTER, from the run's beginning, unshuffled. Says how far weights,
momenta, statistics of batch norm and the bank are from what pirl_reference.py makes of BEFORE; ends
with 1 where that is more than rounding explains.

A step is all that can be compared so: PyTorch against itself, with weights that differ by 1e-6, is
.005 apart after the first step of a run and wholly after ten.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import sys

import numpy as np
import torch
from safetensors import safe_open

import pirl_reference

# What a side of the two networks calls its heads; the rest is the trunk.
HEADS = (("head.f.", "f."), ("head.g.patch.", "g_patch."), ("head.g.concat.", "g_concat."))
# Norm of the difference by the norm. The first two have the ReLUs that fall to 0's other side.
LIMITS = {"change of weights": 5e-3, "momentum": 5e-3, "statistics": 1e-4, "bank": 1e-4}


def load(path):
    with safe_open(path, "pt") as file:
        return file.metadata(), {name: file.get_tensor(name).float() for name in file.keys()}


def peer_name(name):
    for ours, peers in HEADS:
        if name.startswith(ours):
            return peers + name[len(ours):]
    return "trunk." + name


def training(metadata, tensors):
    """The peer, where the checkpoint stands."""
    batch, rows = int(metadata["batch_size"]), int(metadata["bank_size"])
    options = pirl_reference.arguments(["views", *(f"--{name}={value}" for name, value in {
        "arch": metadata["architecture"], "head": metadata["head"], "loss": metadata["loss"],
        "temperature": metadata["temperature"], "lambda": metadata["lambda"], "negatives": 0,
        "exclude-positive": metadata["exclude_positive"], "batch-size": batch,
        "bank-momentum": metadata["bank_momentum"], "bank-update": metadata["bank_update"],
        "bn-statistics": metadata["bn_statistics"], "momentum": metadata["momentum"],
        "learning-rate": float(metadata["learning_rate"]) * 256 / batch,
        "weight-decay": metadata["weight_decay"], "warmup": metadata["warmup_steps"],
        "max-steps": metadata["total_steps"]}.items())])
    peer = pirl_reference.Training(rows, options)
    peer.step = int(metadata["state.step"])
    state = {peer_name(name): value for name, value in tensors.items()
             if not name.startswith("state.")}
    peer.network.load_state_dict(state, strict=False)
    for name, parameter in peer.network.named_parameters():
        assert name in state, name
        peer.optimiser.state[parameter]["momentum_buffer"] = next(
            value.clone() for ours, value in tensors.items()
            if ours.startswith("state.velocity.") and peer_name(ours[15:]) == name)
    peer.bank.rows, peer.bank.filled[:] = tensors["state.bank"].clone(), True
    return peer


def views(metadata, path):
    """The images and patches of the step after the checkpoint."""
    batch, size, side = (int(metadata[name]) for name in ("batch_size", "input_size", "patch_size"))
    patches, position = int(metadata["patches"]), int(metadata["position.samples"])
    record = 3 * (size * size + patches * side * side)
    raw = torch.from_numpy(np.fromfile(path, np.uint8, batch * record, offset=position * record))
    raw = raw.view(batch, record)
    images = raw[:, :3 * size * size].reshape(batch, size, size, 3).permute(0, 3, 1, 2)
    rest = raw[:, 3 * size * size:].reshape(batch, patches, side, side, 3).permute(0, 1, 4, 2, 3)
    own = torch.arange(position, position + batch) % int(metadata["bank_size"])
    return images, rest, own


def main():
    before_file, after_file, views_file = sys.argv[1:]
    metadata, before = load(before_file)
    _, after = load(after_file)
    peer = training(metadata, before)
    peer.train(*views(metadata, views_file))
    network = peer.network.state_dict()
    momenta = {name: peer.optimiser.state[parameter]["momentum_buffer"]
               for name, parameter in peer.network.named_parameters()}
    pairs = {kind: [] for kind in LIMITS}
    for name, value in after.items():
        if name == "state.bank":
            pairs["bank"].append((value, peer.bank.rows))
        elif name.startswith("state.velocity."):
            pairs["momentum"].append((value, momenta[peer_name(name[15:])]))
        elif ".running_" in name:
            pairs["statistics"].append((value, network[peer_name(name)]))
        elif not name.startswith("state."):
            pairs["change of weights"].append((value - before[name],
                                               network[peer_name(name)] - before[name]))
    good = True
    for kind, limit in LIMITS.items():
        ours, peers = (torch.cat([x.flatten() for x in side]) for side in zip(*pairs[kind]))
        error = ((ours - peers).norm() / peers.norm()).item()
        good = good and error <= limit
        print(f"{kind}: {error:.1e} apart, limit {limit:.0e}{'' if error <= limit else ' WRONG'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
