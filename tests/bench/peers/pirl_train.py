#!/usr/bin/env python3
"""The training step of pirl-train-bench in PyTorch: the same network, loss, bank and optimiser.

  pirl_train.py --mode compile --precision fp16 --batch 256 --json FILE
  pirl_train.py --objective supervised --mode graph
  pirl_train.py --check FILE        follows a dump of pirl-train-bench --dump step by step

Modes: eager; graph (eager, the whole step in one CUDA graph); compile (torch.compile, the whole
step in one CUDA graph); max-autotune (the same, with torch.compile timing its choices). In all of
them: channels_last, autocast, fused SGD, cudnn.benchmark, pictures as uint8 in pinned memory that
travel beside the step before and are normalised on the device. In fp32: statistics, loss, bank, the
gather of its rows.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import json
import math
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

NCE_EPSILON = 1.19e-7
Z_KEEP = 0.99
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
BATCHES = 3
CELL = 8
UNTIMED = 3                     # before a step is recorded
TOLERANCE_FIRST, TOLERANCE_LATER = 1e-4, 1e-3


# --- the network: torchvision's names, ResNet v1.5 ---

class Block(nn.Module):
    def __init__(self, inputs, width, stride, bottleneck):
        super().__init__()
        outputs = width * (4 if bottleneck else 1)
        shapes = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)] \
            if bottleneck else [(inputs, width, 3, stride), (width, width, 3, 1)]
        self.depth = len(shapes)
        for i, (n, m, kernel, step) in enumerate(shapes, 1):
            setattr(self, f"conv{i}", nn.Conv2d(n, m, kernel, step, kernel // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(m))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.depth:
                y = self.relu(y)
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Projection(nn.Module):
    """Head f, and g's part for one patch; without the norm."""

    def __init__(self, kind, inputs, outputs):
        super().__init__()
        self.kind = kind
        if kind == "bn":
            self.bn = nn.BatchNorm1d(inputs)
        elif kind == "mlp":
            self.hidden, self.hidden_bn = nn.Linear(inputs, inputs), nn.BatchNorm1d(inputs)
        self.projection = nn.Linear(inputs, outputs)

    def forward(self, x):
        if self.kind == "bn":
            x = self.bn(x)
        elif self.kind == "mlp":
            x = functional.relu(self.hidden_bn(self.hidden(x)))
        return self.projection(x)


class Network(nn.Module):
    def __init__(self, settings, dim=128):
        super().__init__()
        arch, width = settings["arch"], settings["width"]
        bottleneck = arch == "resnet50"
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage, blocks in enumerate(BLOCKS[arch]):
            layers = []
            for i in range(blocks):
                layers.append(Block(inputs, width << stage, 2 if stage and not i else 1, bottleneck))
                inputs = (width << stage) * (4 if bottleneck else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.dim, self.patch_count = dim, settings["patches"]
        if settings["objective"] == "supervised":
            self.fc = nn.Linear(inputs, 1000)
            return
        self.head = nn.Module()
        self.head.f = Projection(settings["head"], inputs, dim)
        self.head.g = nn.Module()
        self.head.g.patch = Projection(settings["head"], inputs, dim)
        self.head.g.concat = nn.Linear(self.patch_count * dim, dim)

    def trunk(self, x):
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        return x.mean(dim=(2, 3))

    def images(self, x):
        return functional.normalize(self.head.f(self.trunk(x)).float())

    def patches(self, x):
        each = self.head.g.patch(self.trunk(x)).reshape(-1, self.patch_count * self.dim)
        return functional.normalize(self.head.g.concat(each).float())

    def logits(self, x):
        return self.fc(self.trunk(x)).float()


# --- the step ---

class Step:
    """What is trained, and one step of it on what lies in `self.batch`."""

    def __init__(self, settings, device, precision, mode):
        self.settings, self.device, self.precision = settings, device, precision
        self.supervised = settings["objective"] == "supervised"
        self.network = Network(settings).to(device, memory_format=torch.channels_last).train()
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim == 1]
        self.optimiser = torch.optim.SGD(
            [{"params": decayed, "weight_decay": settings["weight-decay"]},
             {"params": others, "weight_decay": 0}],
            lr=settings["learning-rate"], momentum=settings["momentum"], fused=device == "cuda")
        self.scaler = torch.amp.GradScaler(
            device, init_scale=2.0 ** 15, enabled=precision == "fp16")
        self.mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1) * 255
        self.factor = 1 / (torch.tensor(STD, device=device).view(1, 3, 1, 1) * 255)
        self.z = None           # Z / rows, on the device
        self.batch, self.negatives = {}, None
        self.compiled = mode in ("compile", "max-autotune")
        self.forward = self.losses
        if self.compiled:
            how = {} if mode == "compile" else {"mode": "max-autotune-no-cudagraphs"}
            self.forward = torch.compile(self.losses, dynamic=False, fullgraph=True, **how)
        self.bank = None
        self.loss = {}

    def draw_bank(self):
        bank = torch.randn(self.settings["bank"], self.network.dim, device=self.device)
        self.bank = functional.normalize(bank)

    def autocast(self):
        kinds = {"fp16": torch.float16, "bf16": torch.bfloat16}
        return torch.autocast(self.device, kinds.get(self.precision, torch.float32),
                              enabled=self.precision in kinds)

    def pictures(self, x):
        """uint8 n,h,w,3 -> normalised n,3,h,w; channels_last as it comes."""
        x = x.reshape(-1, *x.shape[-3:]).permute(0, 3, 1, 2)
        return (x.float() - self.mean) * self.factor

    def draw(self, rows):
        """As many rows of the bank for each sample, never its own."""
        n, k = self.bank.shape[0], self.settings["negatives"]
        draws = torch.randint(0, n - 1, (rows.shape[0], k), device=rows.device)
        return draws + (draws >= rows[:, None])

    def contrast(self, v, rows, negatives):
        """The loss of one term and the mean of exp (s / tau), in fp32."""
        with torch.autocast(self.device, enabled=False):
            candidates = torch.cat([rows[:, None], negatives], dim=1)
            gathered = self.bank[candidates]
            # One kernel where it is compiled, without the gathered rows in memory.
            scores = (gathered * v[:, None]).sum(-1) if self.compiled \
                else torch.bmm(gathered, v[:, :, None])[:, :, 0]
            scores = scores / self.settings["temperature"]
            mean_exp = scores.detach().exp().mean()
            if self.settings["loss"] == "infonce":
                return (torch.logsumexp(scores, 1) - scores[:, 0]).mean(), mean_exp
            p = scores.exp() / (self.z * self.bank.shape[0])
            c = negatives.shape[1] / self.bank.shape[0]
            loss = -torch.log(p[:, 0] / (p[:, 0] + c + NCE_EPSILON))
            loss = loss - torch.log(c / (p[:, 1:] + c + NCE_EPSILON)).sum(1)
            return loss.mean(), mean_exp

    def losses(self, batch, negatives):
        with self.autocast():
            if self.supervised:
                logits = self.network.logits(self.pictures(batch["images"]))
                return functional.cross_entropy(logits, batch["labels"]), None, None, None, None
            rows = batch["rows"]
            drawn = [self.draw(rows), self.draw(rows)] if negatives is None else negatives
            patches = self.network.patches(self.pictures(batch["patches"]))
            loss_patches, mean_patches = self.contrast(patches, rows, drawn[1])
            images = self.network.images(self.pictures(batch["images"]))
            loss_images, mean_images = self.contrast(images, rows, drawn[0])
            return loss_images, loss_patches, mean_images, mean_patches, images

    @torch.no_grad()
    def estimate_z(self):
        """The first term of a run says what Z is."""
        self.z = torch.ones((), device=self.device)
        rows = self.batch["rows"]
        negatives = self.draw(rows) if self.negatives is None else self.negatives[1]
        with self.autocast():
            patches = self.network.patches(self.pictures(self.batch["patches"]))
            self.z = self.contrast(patches, rows, negatives)[1]

    def __call__(self):
        if self.z is None and not self.supervised:
            self.estimate_z()
        self.optimiser.zero_grad(set_to_none=True)
        images, patches, mean_images, mean_patches, v = self.forward(self.batch, self.negatives)
        weight = self.settings["lambda"]
        loss = images if self.supervised else weight * patches + (1 - weight) * images
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.loss = {"loss": loss.detach(), "images": images.detach()}
        if self.supervised:
            return
        self.loss |= {"patches": patches.detach(), "z": self.z.clone()}
        with torch.no_grad():
            keep, rows = self.settings["bank-momentum"], self.batch["rows"]
            mixed = keep * self.bank[rows] + (1 - keep) * v.detach()
            self.bank.index_copy_(0, rows, functional.normalize(mixed))
            self.z.mul_(Z_KEEP).add_((mean_images + mean_patches) * ((1 - Z_KEEP) / 2))


def recorded(step):
    """The step as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(UNTIMED):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


# --- pictures ---

def make_batches(options, settings):
    """BATCHES batches on the host, pinned: squares in random colours, and noise."""
    generator = torch.Generator().manual_seed(1)
    n, batches = options.batch, []

    def noise(*shape):
        side, cells = shape[-2], -(-shape[-2] // CELL)
        colour = torch.randint(0, 192, (*shape[:-3], cells, cells, 3), generator=generator,
                               dtype=torch.uint8)
        colour = colour.repeat_interleave(CELL, -3).repeat_interleave(CELL, -2)
        x = torch.randint(0, 64, shape, generator=generator, dtype=torch.uint8)
        return x.add_(colour[..., :side, :side, :])

    for _ in range(BATCHES):
        batch = {"images": noise(n, options.size, options.size, 3)}
        if settings["objective"] == "supervised":
            batch["labels"] = torch.randint(0, 1000, (n,), generator=generator)
        else:
            batch["patches"] = noise(n, options.patches, options.patch, options.patch, 3)
            batch["rows"] = torch.randperm(options.bank, generator=generator)[:n]
        if options.device == "cuda":
            batch = {name: x.pin_memory() for name, x in batch.items()}
        batches.append(batch)
    return batches


class Feeder:
    """Brings the next batch to the device while a step runs."""

    def __init__(self, step, batches):
        self.step, self.batches, self.at = step, batches, 0
        self.stream = torch.cuda.Stream() if step.device == "cuda" else None
        self.next = None
        step.batch = {name: x.to(step.device) for name, x in batches[0].items()}
        self.fetch()

    def fetch(self):
        self.at += 1
        batch = self.batches[self.at % len(self.batches)]
        if not self.stream:
            self.next = batch
            return
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            if self.next is None:
                self.next = {name: torch.empty_like(x, device="cuda") for name, x in batch.items()}
            for name, x in batch.items():
                self.next[name].copy_(x, non_blocking=True)

    def advance(self):
        """Puts the fetched batch into the step's own tensors, and fetches another."""
        if self.stream:
            torch.cuda.current_stream().wait_stream(self.stream)
        for name, x in self.next.items():
            self.step.batch[name].copy_(x, non_blocking=True)
        self.fetch()


# --- measuring ---

def synchronise(device):
    if device == "cuda":
        torch.cuda.synchronize()


class Watch:
    """nvidia-smi beside what is measured: see BenchWatch in pirl-train-bench.h."""

    def __enter__(self):
        self.file = tempfile.NamedTemporaryFile("r")
        query = ["nvidia-smi", "--id=0", "--query-gpu=utilization.gpu,memory.used",
                 "--format=csv,noheader,nounits", "-lms", "100", "-f", self.file.name]
        try:
            self.process = subprocess.Popen(
                query, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except OSError:
            self.process = None
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            self.process.wait()

    def values(self):
        rows = [line.split(",") for line in self.file.read().splitlines()]
        rows = [(float(a), float(b)) for a, b in (row for row in rows if len(row) == 2)]
        if len(rows) < 4:
            return {}
        return {"gpu_busy_percent": round(statistics.mean(row[0] for row in rows[3:]), 1),
                "gpu_memory_mb": max(row[1] for row in rows)}


def roof():
    """GB/s of a copy (read plus written) and TFLOP/s of a product of matrices in both types."""
    def timed(work, runs=20):
        for _ in range(3):
            work()
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(runs):
            work()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / runs

    source = torch.randn(1 << 28, device="cuda")
    target = torch.empty_like(source)
    found = {"copy_gb_s": round(2 * source.nbytes / timed(lambda: target.copy_(source)) * 1e-6, 1)}
    for name, kind in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(8192, 8192, device="cuda", dtype=kind) for _ in range(2))
        found[f"product_{name}_tflop_s"] = round(2 * 8192 ** 3 / timed(lambda: a @ b) * 1e-9, 1)
    return found


def measure(options, settings):
    step = Step(settings, options.device, options.precision, options.mode)
    if not step.supervised:
        step.draw_bank()
    feeder = Feeder(step, make_batches(options, settings))
    begin = time.monotonic()
    step()                      # libraries, and the first Z
    run = step
    if options.mode != "eager" and options.device == "cuda":
        run = recorded(step)

    def steps(n):
        start = time.monotonic()
        for _ in range(n):
            feeder.advance()
            run()
        synchronise(options.device)
        return time.monotonic() - start

    steps(max(options.warm_up, 1))
    ready = time.monotonic() - begin
    cpu = time.process_time()   # of all threads
    with Watch() as watch:
        rates = sorted(options.steps * options.batch / steps(options.steps)
                       for _ in range(options.windows))
    cpu = time.process_time() - cpu
    median = rates[len(rates) // 2]
    result = {
        "program": "pytorch", "version": torch.__version__, "mode": options.mode,
        "precision": options.precision, "objective": settings["objective"],
        "batch": options.batch, "size": options.size, "negatives": settings["negatives"],
        "bank": options.bank, "images_per_second": round(median, 2),
        "slowest": round(rates[0], 2), "fastest": round(rates[-1], 2),
        "step_ms": round(1e3 * options.batch / median, 4),
        "cpu_ms_per_image": round(1e3 * cpu / options.windows / options.steps / options.batch, 4),
        "windows": options.windows,
        "steps": options.steps, "ready_seconds": round(ready, 1),
        "loss": step.loss["loss"].item(), "device": options.device}
    if options.device == "cuda":
        result |= {"device": torch.cuda.get_device_name(),
                   "max_memory_allocated": torch.cuda.max_memory_allocated(),
                   "max_memory_reserved": torch.cuda.max_memory_reserved()}
    result |= watch.values()
    print("pytorch {version}, {mode}, {precision}, batch {batch}: {images_per_second:.1f} images/s "
          "({slowest:.1f} to {fastest:.1f}), {step_ms:.2f} ms a step, CPU "
          "{cpu_ms_per_image:.2f} ms an image, ready after {ready_seconds} s".format(**result))
    return result


# --- the same numbers ---

KINDS = {"F64": np.float64, "F32": np.float32, "I32": np.int32, "U8": np.uint8}


def read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[begin:end], KINDS[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(values.copy())
    return tensors, metadata


def load_weights(network, tensors):
    state = network.state_dict()
    for name, value in tensors.items():
        if name.startswith("value:"):
            state[name[6:]].copy_(value)


def dumped_settings(tensors, metadata):
    settings = {name: metadata[name] for name in ("objective", "arch", "head", "loss")}
    settings |= {name: float(metadata[name]) for name in (
        "temperature", "lambda", "bank-momentum", "learning-rate", "momentum", "weight-decay")}
    settings["width"] = int(metadata["width"])
    if settings["objective"] == "supervised":
        return settings | {"patches": 0, "negatives": 0}
    return settings | {"patches": tensors["patches"].shape[2],
                       "negatives": tensors["negatives"].shape[3]}


def check(options):
    """Makes the dumped steps; True when the losses are those of the dump."""
    tensors, metadata = read_safetensors(options.check)
    settings = dumped_settings(tensors, metadata)
    step = Step(settings, options.device, options.precision or "f32", options.mode)
    load_weights(step.network, tensors)
    names = ["images"] if step.supervised else ["images", "patches", "z"]
    if not step.supervised:
        step.bank = tensors["bank"].to(options.device)
    good = True
    for i, expected in enumerate(tensors["losses"].tolist()):
        step.batch = {name: tensors[name][i].to(options.device)
                      for name in ("images", "patches") if name in tensors}
        for name in ("rows", "labels"):
            if name in tensors:
                step.batch[name] = tensors[name][i].long().to(options.device)
        if not step.supervised:
            step.negatives = tensors["negatives"][i].long().to(options.device)
        step()
        for name, value in zip(names, expected):
            if name == "z" and settings["loss"] != "nce":
                continue
            found = step.loss[name].item()
            difference = abs(found - value) / abs(value)
            fits = difference <= (TOLERANCE_LATER if i else TOLERANCE_FIRST)
            good = good and fits
            print(f"step {i + 1}, {name}: {value:.7g} here {found:.7g}, "
                  f"difference {difference:.1e}{'' if fits else ' TOO MUCH'}")
    print("the same losses" if good else "other losses")
    return good


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mode", default="eager",
                        choices=["eager", "graph", "compile", "max-autotune"])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--precision", choices=["f32", "tf32", "bf16", "fp16"])
    parser.add_argument("--objective", default="pirl", choices=["pirl", "supervised"])
    parser.add_argument("--arch", default="resnet50", choices=list(BLOCKS))
    parser.add_argument("--head", default="linear", choices=["linear", "bn", "mlp"])
    parser.add_argument("--loss", default="nce", choices=["nce", "infonce"])
    for name, value in (("width", 64), ("batch", 256), ("size", 224), ("patch", 64),
                        ("patches", 9), ("negatives", 32000), ("bank", 1281167),
                        ("warm-up", 10), ("windows", 7), ("steps", 10), ("threads", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--check", metavar="FILE", help="follow a dump instead of measuring")
    parser.add_argument("--roof", action="store_true",
                        help="also the card's rates of a copy and of products")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def main():
    options = arguments()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("skipped: PyTorch sees no CUDA device")
        return 77
    if options.threads:
        torch.set_num_threads(options.threads)
    tf32 = options.precision != "f32" and not options.check
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    if options.check:
        return 0 if check(options) else 1
    options.precision = options.precision or "fp16"
    torch.manual_seed(1)
    settings = {
        "objective": options.objective, "arch": options.arch, "width": options.width,
        "head": options.head, "loss": options.loss, "temperature": 0.07, "lambda": 0.5,
        "bank-momentum": 0.5, "learning-rate": 1e-6, "momentum": 0.9, "weight-decay": 1e-4,
        "patches": options.patches, "negatives": options.negatives, "bank": options.bank}
    result = measure(options, settings)
    if options.roof and options.device == "cuda":
        result["roof"] = roof()
        print(" ".join(f"{name} {value}" for name, value in result["roof"].items()))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(result) + "\n")
    return 0 if math.isfinite(result["loss"]) else 1


if __name__ == "__main__":
    sys.exit(main())
