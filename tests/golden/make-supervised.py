#!/usr/bin/env python3
"""Trains two narrow classifiers for three steps in PyTorch and writes what golden-test.c expects.

torchvision's MobileNetV2 of width 0.1 (without its dropout) with SGD, and the ResNet-18 of
make-resnet18.py with Adam. (Not the other way round: the biases of MobileNetV2's last batch norms of a
block meet the next batch norm, so their gradient is 0 but for rounding, which Adam makes large.) Pictures and weights come from the Philox streams named there; the label of
sample i is 7 i mod 10. The truth is the float64 run.

  make-supervised.py     writes supervised-mobilenetv2.safetensors and supervised-resnet18.safetensors

Each file: "losses" [steps, 3] (cross-entropy, 0, 0), and the tensors of make-resnet18.py, with
"second:PARAMETER", Adam's second moment. Needs PyTorch, torchvision and numpy.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import importlib.util
import math
import pathlib
import zlib

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn import functional

import philox

HERE = pathlib.Path(__file__).resolve().parent
STEPS, CLASSES = 3, 10
BETAS, EPSILON = (0.9, 0.999), 1e-8
SETTINGS = {
    "supervised-mobilenetv2": dict(
        objective="supervised", architecture="mobilenetv2", width=0.1, optimizer="sgd",
        learning_rate=1e-5, weight_decay=0.01, seed=5),
    "supervised-resnet18": dict(
        objective="supervised", architecture="resnet18", width=0, optimizer="adam",
        learning_rate=1e-4, weight_decay=0.05, seed=6),
}

spec = importlib.util.spec_from_file_location("resnet18", HERE / "make-resnet18.py")
resnet18 = importlib.util.module_from_spec(spec)
spec.loader.exec_module(resnet18)


class Resnet(resnet18.Network):
    def __init__(self):
        super().__init__("linear")
        del self.head
        self.fc = nn.Linear(8 * resnet18.WIDTH, CLASSES)

    def forward(self, x):
        return self.fc(self.trunk(x))


def build(settings):
    if settings["architecture"] == "resnet18":
        network = Resnet()
        resnet18.draw_weights(network, settings["seed"])
        return network
    network = torchvision.models.mobilenet_v2(width_mult=settings["width"], num_classes=CLASSES)
    network.classifier[0].p = 0
    resnet18.draw_weights(network, settings["seed"])
    # torchvision's classifier begins N(0, 0.01), 0.
    weight, name = network.classifier[1].weight, "classifier.1.weight"
    drawn = philox.normal(settings["seed"], 0, zlib.crc32(name.encode()), philox.WEIGHTS, weight.numel())
    with torch.no_grad():
        weight.copy_(torch.from_numpy(np.float32(0.01) * drawn).reshape(weight.shape))
        network.classifier[1].bias.zero_()
    return network


def make_optimizer(settings, network):
    groups = [{"params": [p for p in network.parameters() if p.ndim > 1],
               "weight_decay": settings["weight_decay"]},
              {"params": [p for p in network.parameters() if p.ndim == 1], "weight_decay": 0}]
    if settings["optimizer"] == "adam":
        return torch.optim.Adam(groups, lr=settings["learning_rate"], betas=BETAS, eps=EPSILON)
    return torch.optim.SGD(groups, lr=settings["learning_rate"], momentum=resnet18.MOMENTUM)


def note(log, kind, name, values):
    log.setdefault(f"{kind}:{name}", []).append(resnet18.digest(values))


def train(settings, dtype):
    network = build(settings).to(dtype).train()
    optimizer = make_optimizer(settings, network)
    moments = (("velocity", "momentum_buffer"),) if settings["optimizer"] == "sgd" else (
        ("velocity", "exp_avg"), ("second", "exp_avg_sq"))
    log = {"losses": []}
    for step in range(STEPS):
        rows = [(step * resnet18.BATCH + b) * 37 % 64 for b in range(resnet18.BATCH)]
        images, _ = resnet18.pictures(rows, dtype)
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(images), torch.tensor([7 * row % CLASSES for row in rows]))
        loss.backward()
        log["losses"].append([loss.item(), 0, 0])
        for name, parameter in network.named_parameters():
            note(log, "gradient", name, parameter.grad)
        optimizer.step()
        for name, parameter in network.named_parameters():
            for kind, key in moments:
                note(log, kind, name, optimizer.state[parameter][key])
        for name, value in (dict(network.named_parameters()) | dict(network.named_buffers())).items():
            if not name.endswith("num_batches_tracked"):
                note(log, "value", name, value)
    return {name: np.array(rows) for name, rows in log.items()}


def main():
    torch.set_num_threads(1)
    for name, settings in SETTINGS.items():
        truth, single = train(settings, torch.float64), train(settings, torch.float32)
        tensors = {key: rows.astype(np.float64 if key == "losses" else np.float32)
                   for key, rows in truth.items()}
        metadata = {key.replace("_", "-"): str(value) for key, value in settings.items()}
        path = HERE / f"{name}.safetensors"
        resnet18.save(path, tensors, metadata)
        losses = " ".join(f"{x:.4f}" for x in truth["losses"][:, 0])
        print(f"{path.name}: losses {losses} (log 10 = {math.log(10):.4f}), {path.stat().st_size} bytes")
        for kind in ("value", "gradient"):
            print(f"  float32 differs in {kind}s by, for each step:", resnet18.rounding(truth, single, kind))


if __name__ == "__main__":
    main()
