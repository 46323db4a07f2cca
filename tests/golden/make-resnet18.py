#!/usr/bin/env python3
"""Trains PIRL with a small ResNet-18 for ten steps in PyTorch and writes what golden-test.c expects.

Everything random comes from Philox streams by the recipes in kernels/net/params.h (weights),
kernels/learn/trainer.h and bank.c (bank, negatives) and in pictures() below, so that both programs
start from the same numbers without exchanging any. The truth is the float64 run; the float32 run
says how far rounding alone leads.

  make-resnet18.py [NAME...]     writes NAME.safetensors beside itself (default: all)

Each file: "losses" [steps, 3] (images, patches, Z / rows), and of "bank", "value:PARAMETER",
"gradient:PARAMETER" [steps, 65] and "velocity:PARAMETER" [2, 65], after the step: the norm, then
the 64 elements i * count / 64 (all, when fewer). The metadata holds the settings. Needs PyTorch and numpy.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import json
import math
import pathlib
import struct
import zlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import philox

STEPS, BATCH, DIM, WIDTH = 10, 8, 128, 8
IMAGE, PATCH, PATCHES, CELL = 64, 32, 9, 8
SAMPLES = 64
VELOCITY_STEPS = 2              # the second shows the momentum
MOMENTUM, BANK_MOMENTUM = 0.9, 0.5
NCE_EPSILON = 1.19e-7
Z_KEEP = 0.99
NORM_FLOOR = 1e-2               # a bias before batch norm has the gradient 0
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])

# Learning rates and bank sizes at which rounding stays rounding: an untrained network gives all
# pictures nearly the same embedding, so a small bank soon looks like it, and NCE grows steep.
SETTINGS = {
    # The paper's and the reference's.
    "linear-nce": dict(
        head="linear", loss="nce", z_mode="first-batch", temperature=0.07, rows=256,
        negatives=32, exclude_positive=0, lambda_=0.5, bn_statistics="both",
        learning_rate=3e-5, weight_decay=1e-4, seed=1),
    # Our default, but for the number of negatives, which are drawn here; goes into a second epoch.
    "bn-infonce": dict(
        head="bn", loss="infonce", z_mode="ema", temperature=0.2, rows=64,
        negatives=24, exclude_positive=1, lambda_=0.5, bn_statistics="both",
        learning_rate=3e-5, weight_decay=1e-4, seed=2),
    # What the other two leave out: all other rows, moving Z, uneven weights, images' statistics,
    # a weight decay that can be seen.
    "mlp-nce": dict(
        head="mlp", loss="nce", z_mode="ema", temperature=0.1, rows=256,
        negatives=255, exclude_positive=1, lambda_=0.3, bn_statistics="images",
        learning_rate=3e-5, weight_decay=0.05, seed=0x123456789ABC),
}


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        return torch.relu(self.bn2(self.conv2(y)) + shortcut)


class Projection(nn.Module):
    """Head f, and g's part for one patch; without the norm."""

    def __init__(self, kind, inputs):
        super().__init__()
        if kind == "bn":
            self.bn = nn.BatchNorm1d(inputs)
        elif kind == "mlp":
            self.hidden, self.hidden_bn = nn.Linear(inputs, inputs), nn.BatchNorm1d(inputs)
        self.kind, self.projection = kind, nn.Linear(inputs, DIM)

    def forward(self, x):
        if self.kind == "bn":
            x = self.bn(x)
        elif self.kind == "mlp":
            x = torch.relu(self.hidden_bn(self.hidden(x)))
        return self.projection(x)


class Network(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        inputs = WIDTH
        for stage in range(4):
            outputs = WIDTH << stage
            blocks = nn.Sequential(
                Block(inputs, outputs, 2 if stage else 1), Block(outputs, outputs, 1))
            setattr(self, f"layer{stage + 1}", blocks)
            inputs = outputs
        self.head = nn.Module()
        self.head.f = Projection(head, inputs)
        self.head.g = nn.Module()
        self.head.g.patch = Projection(head, inputs)
        self.head.g.concat = nn.Linear(PATCHES * DIM, DIM)

    def trunk(self, x):
        x = functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        return x.mean(dim=(2, 3))

    def images(self, x):
        return functional.normalize(self.head.f(self.trunk(x)))

    def patches(self, x):
        each = self.head.g.patch(self.trunk(x)).reshape(-1, PATCHES * DIM)
        return functional.normalize(self.head.g.concat(each))


def draw_weights(network, seed):
    for name, parameter in network.named_parameters():
        stream = (seed, 0, zlib.crc32(name.encode()), philox.WEIGHTS)
        shape, count = parameter.shape, parameter.numel()
        owner = network.get_submodule(name.rpartition(".")[0])
        if isinstance(owner, nn.Conv2d):
            deviation = np.float32(math.sqrt(2 / (shape[0] * shape[2] * shape[3])))
            drawn = deviation * philox.normal(*stream, count)
        elif isinstance(owner, nn.Linear):
            bound = 1 / math.sqrt(owner.in_features)
            drawn = philox.uniform_range(*stream, count, -bound, bound)
        else:
            drawn = np.full(count, name.endswith("weight"), np.float32)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(drawn).reshape(shape))


def draw_bank(seed, n):
    bound = 1 / math.sqrt(DIM / 3)
    rows = [philox.uniform_range(seed, 0, r, philox.BANK, DIM, -bound, bound)
            for r in range(n)]
    bank = np.stack(rows).astype(np.float64)
    return torch.from_numpy((bank / np.linalg.norm(bank, axis=1, keepdims=True)).astype(np.float32))


def draw_negatives(settings, epoch, rows, purpose):
    n, k = settings["rows"], settings["negatives"]
    if settings["exclude_positive"] and k == n - 1:
        return torch.tensor([[j for j in range(n) if j != row] for row in rows])
    drawn = []
    for row in rows:
        stream = (settings["seed"], epoch, row, purpose)
        if settings["exclude_positive"]:
            negatives = philox.below(*stream, k, n - 1)
            negatives += negatives >= row
        else:
            negatives = philox.below(*stream, k, n)
        drawn.append(negatives)
    return torch.from_numpy(np.stack(drawn))


def picture(index, size):
    """Noise on a coarse pattern: cells of 8 x 8 pixels; three parts pattern, one part noise."""
    cells = size // CELL
    drawn = (philox.words(0, 0, index, philox.TEST, 3 * cells**2 + 3 * size**2)
             >> np.uint64(24)).astype(np.int64)
    coarse = drawn[:3 * cells**2].reshape(cells, cells, 3)
    noise = drawn[3 * cells**2:].reshape(size, size, 3)
    return ((3 * coarse.repeat(CELL, 0).repeat(CELL, 1) + noise) // 4).astype(np.uint8)


def pictures(rows, dtype):
    """Images and patches of the samples: streams of index row and 1000 * (row + 1) + patch."""
    images = [picture(row, IMAGE) for row in rows]
    patches = [picture(1000 * (row + 1) + p, PATCH) for row in rows for p in range(PATCHES)]
    result = []
    for batch in (images, patches):
        normalised = (np.stack(batch).astype(np.float64) / 255 - MEAN) / STD
        result.append(torch.from_numpy(normalised).permute(0, 3, 1, 2).to(dtype).contiguous())
    return result


def contrast(settings, z, rows, negatives, bank, normaliser):
    """The loss of one term (PirlContrastDesc in backend.h), and the mean of exp (s / tau)."""
    candidates = torch.cat([torch.tensor(rows)[:, None], negatives], dim=1)
    scores = torch.einsum("bd,bkd->bk", z, bank[candidates]) / settings["temperature"]
    mean_exp = scores.detach().exp().mean().item()
    if settings["loss"] == "infonce":
        loss = torch.logsumexp(scores, dim=1) - scores[:, 0]
        return loss.mean(), mean_exp
    p = scores.exp() / settings["rows"] / (normaliser or mean_exp)
    c = settings["negatives"] / settings["rows"]
    loss = -torch.log(p[:, 0] / (p[:, 0] + c + NCE_EPSILON))
    loss = loss - torch.log(c / (p[:, 1:] + c + NCE_EPSILON)).sum(dim=1)
    return loss.mean(), mean_exp


def set_bn_momentum(network, momentum):
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = momentum


def digest(values):
    """The norm and 64 elements at even strides."""
    flat = values.detach().double().reshape(-1)
    taken = min(SAMPLES, flat.numel())
    row = np.zeros(1 + SAMPLES)
    row[0] = flat.norm().item()
    row[1:1 + taken] = flat[[i * flat.numel() // taken for i in range(taken)]].numpy()
    return row


def train(settings, dtype):
    network = Network(settings["head"])
    draw_weights(network, settings["seed"])
    network = network.to(dtype).train()
    bank = draw_bank(settings["seed"], settings["rows"]).to(dtype)
    groups = [{"params": [p for p in network.parameters() if p.ndim > 1],
               "weight_decay": settings["weight_decay"]},
              {"params": [p for p in network.parameters() if p.ndim == 1], "weight_decay": 0}]
    optimiser = torch.optim.SGD(groups, lr=settings["learning_rate"], momentum=MOMENTUM)
    lambda_, normaliser = settings["lambda_"], None
    log = {"losses": []}

    for step in range(STEPS):
        epoch = step * BATCH // settings["rows"]
        rows = [(step * BATCH + b) * 37 % settings["rows"] for b in range(BATCH)]
        images, patches = pictures(rows, dtype)
        optimiser.zero_grad()
        set_bn_momentum(network, 0.1 if settings["bn_statistics"] == "both" else 0.0)
        loss_patches, mean_patches = contrast(
            settings, network.patches(patches), rows,
            draw_negatives(settings, epoch, rows, philox.NEGATIVES_PRETEXT), bank, normaliser)
        normaliser = normaliser or mean_patches
        set_bn_momentum(network, 0.1)
        z = network.images(images)
        loss_images, mean_images = contrast(
            settings, z, rows, draw_negatives(settings, epoch, rows, philox.NEGATIVES), bank,
            normaliser)
        (lambda_ * loss_patches + (1 - lambda_) * loss_images).backward()

        used = normaliser if settings["loss"] == "nce" else 0
        log["losses"].append([loss_images.item(), loss_patches.item(), used])
        for name, parameter in network.named_parameters():
            log.setdefault("gradient:" + name, []).append(digest(parameter.grad))
        optimiser.step()
        for name, parameter in network.named_parameters():
            if step < VELOCITY_STEPS:
                velocity = optimiser.state[parameter]["momentum_buffer"]
                log.setdefault("velocity:" + name, []).append(digest(velocity))
        bank[rows] = functional.normalize(
            BANK_MOMENTUM * bank[rows] + (1 - BANK_MOMENTUM) * z.detach())
        if settings["z_mode"] == "ema":
            normaliser = Z_KEEP * normaliser + (1 - Z_KEEP) * (mean_patches + mean_images) / 2
        values = dict(network.named_parameters()) | dict(network.named_buffers())
        for name, value in values.items():
            if not name.endswith("num_batches_tracked"):
                log.setdefault("value:" + name, []).append(digest(value))
        log.setdefault("bank", []).append(digest(bank))
    return {name: np.array(rows) for name, rows in log.items()}


def rounding(truth, single, kind):
    """For each step the largest difference of a tensor, relative to its norm."""
    worst = np.zeros(STEPS)
    for name, rows in truth.items():
        if name.startswith(kind):
            difference = np.linalg.norm(single[name][:, 1:] - rows[:, 1:], axis=1)
            steps = len(rows)
            worst[:steps] = np.maximum(
                worst[:steps], difference / np.maximum(rows[:, 0], NORM_FLOOR))
    return " ".join(f"{x:.0e}" for x in worst)


def save(path, tensors, metadata):
    """safetensors, the same bytes every time."""
    header, data = {"__metadata__": metadata}, b""
    for name, values in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        begin, data = len(data), data + values.tobytes()
        header[name] = {"dtype": {8: "F64", 4: "F32"}[values.itemsize],
                        "shape": values.shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=list(SETTINGS))
    torch.set_num_threads(1)    # sums in one order: the same file from every machine's cores
    for name in parser.parse_args().names:
        settings = SETTINGS[name]
        truth, single = train(settings, torch.float64), train(settings, torch.float32)
        print(f"{name}: losses " + " ".join(f"{x:.4f}" for x in truth["losses"][:, :2].mean(1)))
        losses = np.abs(single["losses"][:, :2] / truth["losses"][:, :2] - 1).max(axis=1)
        print("  float32 differs by, for each step:")
        print("    losses   ", " ".join(f"{x:.0e}" for x in losses))
        for kind in ("value", "gradient", "velocity", "bank"):
            print(f"    {kind:9}", rounding(truth, single, kind))
        tensors = {key: rows.astype(np.float64 if key == "losses" else np.float32)
                   for key, rows in truth.items()}
        metadata = {key.replace("_", "-").rstrip("-"): str(value)
                    for key, value in settings.items()}
        path = pathlib.Path(__file__).resolve().parent / f"{name}.safetensors"
        save(path, tensors, metadata)
        print(f"  {path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
