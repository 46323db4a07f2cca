#!/usr/bin/env python3
"""Trains jigsaw, rotation, moco and PIRL on turned pictures for ten steps in PyTorch and writes what
golden-test.c expects.

The trunk is the ResNet-18 of make-resnet18.py; pictures, weights, bank and negatives come from the
Philox streams named there. The second view of sample i is pictures 1000 (i + 1), 1000 (i + 1) + 1, ...
of its size: nothing here depends on what is in it. The class of sample i is (5 i + 3) mod classes.
The truth is the float64 run.

  make-objectives.py [NAME...]     writes NAME.safetensors beside itself (default: all)

Each file has the tensors of make-resnet18.py, and of moco "key:PARAMETER", the key network's. Needs
PyTorch and numpy.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import copy
import importlib.util
import pathlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import philox

HERE = pathlib.Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("resnet18", HERE / "make-resnet18.py")
resnet18 = importlib.util.module_from_spec(spec)
spec.loader.exec_module(resnet18)

SAMPLES = 64
LARS_TRUST, LARS_EPSILON = 1e-3, 1e-8

SETTINGS = {
    "jigsaw": dict(
        objective="jigsaw", patch_size=32, patches=9, classes=20, hidden=24, optimizer="sgd",
        nesterov=1, learning_rate=1e-5, weight_decay=1e-4, seed=11),
    "rotation": dict(
        objective="rotation", patch_size=64, patches=1, classes=4, optimizer="lars", nesterov=0,
        learning_rate=2e-3, weight_decay=1e-3, seed=12),
    # The queue is written round in three steps.
    "moco": dict(
        objective="moco", patch_size=64, patches=1, head="mlp", loss="infonce", temperature=0.2,
        rows=24, key_momentum=0.9, near=1, near_weight=0, optimizer="sgd", nesterov=0,
        learning_rate=3e-5, weight_decay=1e-4, seed=13),
    "pirl-rotation": dict(
        objective="pirl", patch_size=64, patches=1, head="bn", loss="infonce", temperature=0.2,
        rows=64, negatives=40, exclude_positive=1, lambda_=0.4, bn_statistics="images",
        near=0.07, near_weight=0.25, optimizer="sgd", nesterov=0, learning_rate=1e-5,
        weight_decay=1e-4, z_mode="ema", seed=16),
}


class Network(resnet18.Network):
    def __init__(self, settings):
        super().__init__(settings.get("head", "linear"))
        features, objective = 8 * resnet18.WIDTH, settings["objective"]
        if objective in ("jigsaw", "rotation"):
            self.head = nn.Module()
            setattr(self.head, objective, nn.Module())
        if objective == "jigsaw":
            hidden = settings["hidden"]
            self.head.jigsaw.patch = nn.Linear(features, hidden)
            self.head.jigsaw.patch_bn = nn.BatchNorm1d(hidden)
            self.head.jigsaw.classes = nn.Linear(settings["patches"] * hidden, settings["classes"])
        elif objective == "rotation":
            self.head.rotation.classes = nn.Linear(features, settings["classes"])
        elif objective == "moco":
            del self.head.g
        else:
            del self.head.g.concat

    def jigsaw(self, patches, settings):
        head = self.head.jigsaw
        each = torch.relu(head.patch_bn(head.patch(self.trunk(patches))))
        return head.classes(each.reshape(-1, settings["patches"] * settings["hidden"]))

    def rotation(self, views, settings):
        return self.head.rotation.classes(self.trunk(views))

    def turned(self, views):
        return functional.normalize(self.head.g.patch(self.trunk(views)))


class Lars:
    """You et al. 2017, on tensors of more than one dimension; the others are left to plain SGD."""

    def __init__(self, network, settings):
        self.parameters, self.state = list(network.parameters()), {}
        self.lr, self.decay = settings["learning_rate"], settings["weight_decay"]
        for parameter in self.parameters:
            self.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self):
        for w in self.parameters:
            v = self.state[w]["momentum_buffer"]
            if w.ndim == 1:
                v.mul_(resnet18.MOMENTUM).add_(w.grad)
                w.sub_(self.lr * v)
                continue
            norm = w.norm()
            local = LARS_TRUST * norm / (w.grad.norm() + self.decay * norm + LARS_EPSILON)
            v.mul_(resnet18.MOMENTUM).add_(local * self.lr * (w.grad + self.decay * w))
            w.sub_(v)


def make_optimizer(network, settings):
    if settings["optimizer"] == "lars":
        return Lars(network, settings)
    groups = [{"params": [p for p in network.parameters() if p.ndim > 1],
               "weight_decay": settings["weight_decay"]},
              {"params": [p for p in network.parameters() if p.ndim == 1], "weight_decay": 0}]
    return torch.optim.SGD(groups, lr=settings["learning_rate"], momentum=resnet18.MOMENTUM,
                           nesterov=bool(settings["nesterov"]))


def views(rows, settings, dtype):
    """The image views, and the second views."""
    images = [resnet18.picture(row, resnet18.IMAGE) for row in rows]
    second = [resnet18.picture(1000 * (row + 1) + p, settings["patch_size"])
              for row in rows for p in range(settings["patches"])]
    return [torch.from_numpy((np.stack(batch).astype(np.float64) / 255 - resnet18.MEAN) / resnet18.STD)
            .permute(0, 3, 1, 2).to(dtype).contiguous() for batch in (images, second)]


class Contrast:
    """InfoNCE with near negatives; remembers how close a score came to the threshold."""

    def __init__(self, settings):
        self.settings, self.margin = settings, np.inf

    def loss(self, z, bank, positive, negatives):
        cosine = torch.cat([(z * bank[positive]).sum(1, keepdim=True),
                            torch.einsum("bd,bkd->bk", z, bank[negatives])], dim=1)
        weight = torch.ones_like(cosine)
        near = cosine.detach()[:, 1:]
        if self.settings["near"] < 1:
            weight[:, 1:][near > self.settings["near"]] = self.settings["near_weight"]
            self.margin = min(self.margin, (near - self.settings["near"]).abs().min().item())
        scores = cosine / self.settings["temperature"]
        return (torch.log((weight * scores.exp()).sum(1)) - scores[:, 0]).mean()


class Classes:
    """jigsaw, rotation"""

    def __init__(self, network, settings, dtype):
        self.network, self.settings = network, settings

    def losses(self, step, rows, images, second):
        logits = getattr(self.network, self.settings["objective"])(second, self.settings)
        target = torch.tensor([(5 * row + 3) % self.settings["classes"] for row in rows])
        loss = functional.cross_entropy(logits, target)
        return loss, [0, loss.item(), 0]

    def after(self, log):
        pass


class Moco:
    """He et al. 2020, algorithm 1, but that a batch's keys are in the queue when its queries come."""

    def __init__(self, network, settings, dtype):
        self.network, self.settings = network, settings
        self.key = copy.deepcopy(network)
        self.queue = resnet18.draw_bank(settings["seed"], settings["rows"]).to(dtype)
        self.contrast = Contrast(settings)

    def losses(self, step, rows, images, second):
        n, batch = self.settings["rows"], resnet18.BATCH
        own = [(step * batch + b) % n for b in range(batch)]
        with torch.no_grad():
            self.queue[own] = self.key.images(second)
        others = torch.tensor([[j for j in range(n) if j != row] for row in own])
        loss = self.contrast.loss(self.network.images(images), self.queue, own, others)
        return loss, [loss.item(), 0, 0]

    @torch.no_grad()
    def after(self, log):
        keep = self.settings["key_momentum"]
        for (name, k), q in zip(self.key.named_parameters(), self.network.parameters()):
            k.copy_(keep * k + (1 - keep) * q)
            note(log, "key", name, k)
        log.setdefault("bank", []).append(resnet18.digest(self.queue))


class Pirl:
    """The second view is one picture with a head of its own."""

    def __init__(self, network, settings, dtype):
        self.network, self.settings = network, settings
        self.bank = resnet18.draw_bank(settings["seed"], settings["rows"]).to(dtype)
        self.contrast = Contrast(settings)

    def losses(self, step, rows, images, second):
        s, epoch = self.settings, step * resnet18.BATCH // self.settings["rows"]
        resnet18.set_bn_momentum(self.network, 0.0)
        loss_second = self.contrast.loss(self.network.turned(second), self.bank, rows,
            resnet18.draw_negatives(s, epoch, rows, philox.NEGATIVES_PRETEXT))
        resnet18.set_bn_momentum(self.network, 0.1)
        z = self.network.images(images)
        loss_images = self.contrast.loss(z, self.bank, rows,
            resnet18.draw_negatives(s, epoch, rows, philox.NEGATIVES))
        self.rows, self.z = rows, z.detach()
        loss = s["lambda_"] * loss_second + (1 - s["lambda_"]) * loss_images
        return loss, [loss_images.item(), loss_second.item(), 0]

    def after(self, log):
        keep = resnet18.BANK_MOMENTUM
        self.bank[self.rows] = functional.normalize(keep * self.bank[self.rows] + (1 - keep) * self.z)
        log.setdefault("bank", []).append(resnet18.digest(self.bank))


OBJECTIVES = {"jigsaw": Classes, "rotation": Classes, "moco": Moco, "pirl": Pirl}


def note(log, kind, name, values):
    log.setdefault(f"{kind}:{name}", []).append(resnet18.digest(values))


def train(settings, dtype):
    network = Network(settings)
    resnet18.draw_weights(network, settings["seed"])
    network = network.to(dtype).train()
    objective = OBJECTIVES[settings["objective"]](network, settings, dtype)
    optimizer = make_optimizer(network, settings)
    log = {"losses": []}
    for step in range(resnet18.STEPS):
        rows = [(step * resnet18.BATCH + b) * 37 % SAMPLES for b in range(resnet18.BATCH)]
        optimizer.zero_grad()
        loss, numbers = objective.losses(step, rows, *views(rows, settings, dtype))
        loss.backward()
        log["losses"].append(numbers)
        for name, parameter in network.named_parameters():
            note(log, "gradient", name, parameter.grad)
        optimizer.step()
        for name, parameter in network.named_parameters():
            if step < resnet18.VELOCITY_STEPS:
                note(log, "velocity", name, optimizer.state[parameter]["momentum_buffer"])
        objective.after(log)
        for name, value in (dict(network.named_parameters()) | dict(network.named_buffers())).items():
            if not name.endswith("num_batches_tracked"):
                note(log, "value", name, value)
    margin = getattr(objective, "contrast", Contrast(settings)).margin
    return {name: np.array(rows) for name, rows in log.items()}, margin


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=list(SETTINGS))
    torch.set_num_threads(1)
    for name in parser.parse_args().names:
        settings = SETTINGS[name]
        (truth, margin), (single, _) = train(settings, torch.float64), train(settings, torch.float32)
        print(f"{name}: losses " + " ".join(f"{x:.4f}" for x in truth["losses"][:, :2].sum(1)))
        print(f"  no score is nearer to the threshold than {margin:.1e}; float32 differs by, for each step:")
        losses = np.abs(single["losses"] - truth["losses"]).max(axis=1) / truth["losses"].max(axis=1)
        print("    losses   ", " ".join(f"{x:.0e}" for x in losses))
        for kind in ("value", "gradient", "velocity", "bank", "key"):
            if any(key.startswith(kind) for key in truth):
                print(f"    {kind:9}", resnet18.rounding(truth, single, kind))
        tensors = {key: rows.astype(np.float64 if key == "losses" else np.float32)
                   for key, rows in truth.items()}
        metadata = {key.replace("_", "-").rstrip("-"): str(value) for key, value in settings.items()}
        path = HERE / f"{name}.safetensors"
        resnet18.save(path, tensors, metadata)
        print(f"  {path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
