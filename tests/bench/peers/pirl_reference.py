#!/usr/bin/env python3
"""PIRL in PyTorch, torchvision and Pillow: what the papers describe, to compare ours with.

  pirl_reference.py LIST --max-steps 1500 --checkpoint-file FILE --model-file FILE [--log FILE]
  pirl_reference.py --oracles      the losses at the start, against their closed form

LIST names pictures, one a line; what follows a tab is ignored. Every other option has the name and
the meaning of a property of pirljigsaw or pirltrainsink, and its default. Stopped (SIGINT, SIGTERM,
--stop-at), it goes on where its checkpoint stands: every draw depends on seed, epoch and sample, or
on a generator that the checkpoint holds. The trained trunk is written with torchvision's names.

Method: Misra and van der Maaten 2020; NCE and its partition constant as in Wu et al. 2018.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import contextlib
import json
import math
import os
import pathlib
import signal
import sys
import time

import torch
import torchvision
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torchvision import transforms

from pirl_train import MEAN, NCE_EPSILON, STD, Z_KEEP, Projection

DIM = 128
GRID = 3
ALL_NEGATIVES = 32000           # negatives=0 means so many, or all others
SAVE_SECONDS = 60
LAST_RATE = 1e-3                # of the first, where the cosine ends


# --- the two views ---

def read_list(path):
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[0] for line in lines if line]


def chance(p):
    return torch.rand(()).item() < p


def draw(low, high):
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, ()))


class Photometric:
    """Posterize, sharpness, solarize and autocontrast, all or none of them."""

    def __init__(self, probability):
        self.probability = probability

    def __call__(self, picture):
        if not chance(self.probability):
            return picture
        picture = ImageOps.posterize(picture, draw(4, 8))
        picture = ImageEnhance.Sharpness(picture).enhance(0.1 + 1.8 * torch.rand(()).item())
        return ImageOps.autocontrast(ImageOps.solarize(picture, draw(0, 256)))


class Blur:
    """The papers' radius is meant for 224 pixels."""

    def __init__(self, probability, size):
        self.probability, self.scale = probability, min(1, size / 224)

    def __call__(self, picture):
        if not chance(self.probability):
            return picture
        radius = self.scale * (0.1 + 1.9 * torch.rand(()).item())
        return picture.filter(ImageFilter.GaussianBlur(radius))


class Views(torch.utils.data.Dataset):
    """Of the sample (epoch, index): its image view and its patches as bytes, and its row."""

    def __init__(self, files, options):
        self.files, self.seed = files, options.seed
        size = options.image_size
        side = round(size * 255 / 224)
        self.cell = side // GRID
        self.patch = round(size * 64 / 224)
        self.image_crop = transforms.RandomResizedCrop(size, scale=(options.crop_scale_min, 1))
        self.puzzle_crop = transforms.RandomResizedCrop(
            self.cell * GRID, scale=(options.patch_crop_scale_min, 1))
        self.colour = transforms.Compose([
            transforms.ColorJitter(options.brightness, options.contrast, options.saturation,
                                   options.hue),
            Photometric(options.photometric), transforms.RandomGrayscale(options.grayscale),
            transforms.RandomHorizontalFlip(), Blur(options.blur, size),
            transforms.PILToTensor()])

    def __getitem__(self, sample):
        epoch, index = sample
        torch.manual_seed((self.seed * 100003 + epoch) * len(self.files) + index)
        picture = Image.open(self.files[index]).convert("RGB")
        image = self.colour(self.image_crop(picture))
        puzzle, patches = self.puzzle_crop(picture), []
        for cell in torch.randperm(GRID * GRID).tolist():
            x = cell % GRID * self.cell + draw(0, self.cell - self.patch)
            y = cell // GRID * self.cell + draw(0, self.cell - self.patch)
            patches.append(self.colour(puzzle.crop((x, y, x + self.patch, y + self.patch))))
        return image, torch.stack(patches), index


class Batches:
    """The samples of the steps from `first` on: epoch after epoch, each in an order of its own."""

    def __init__(self, samples, options, first):
        self.samples, self.options, self.first = samples, options, first

    def __len__(self):
        return self.options.max_steps - self.first

    def __iter__(self):
        batch, epoch, order = self.options.batch_size, None, None
        for step in range(self.first, self.options.max_steps):
            chosen = []
            for position in range(step * batch, (step + 1) * batch):
                if position // self.samples != epoch:
                    epoch = position // self.samples
                    generator = torch.Generator().manual_seed(self.options.seed * 100003 + epoch)
                    order = torch.randperm(self.samples, generator=generator).tolist()
                chosen.append((epoch, order[position % self.samples]))
            yield chosen


# --- the network ---

class Network(nn.Module):
    """A trunk of torchvision's, and the heads f (images) and g (patches)."""

    def __init__(self, options):
        super().__init__()
        self.trunk = getattr(torchvision.models, options.arch)()
        features = self.trunk.fc.in_features
        self.trunk.fc = nn.Identity()
        if options.init == "default":
            for module in self.trunk.modules():
                if isinstance(module, nn.Conv2d):
                    module.reset_parameters()
        self.f = Projection(options.head, features, DIM)
        self.g_patch = Projection(options.head, features, DIM)
        self.g_concat = nn.Linear(GRID * GRID * DIM, DIM)
        self.bf16 = options.precision == "bf16"
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, 255 * torch.tensor(values).view(1, 3, 1, 1), False)

    def features(self, pixels):
        x = (pixels.float() - self.mean) / self.std
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            x = self.trunk(x)
        return x.float()

    def image_embedding(self, images):
        return functional.normalize(self.f(self.features(images)))

    def patches_embedding(self, patches):
        each = self.g_patch(self.features(patches.flatten(0, 1)))
        return functional.normalize(self.g_concat(each.reshape(len(patches), -1)))


@contextlib.contextmanager
def kept_statistics(network):
    """Batch norm leaves its running statistics alone."""
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    yield
    for layer, momentum in zip(layers, momenta):
        layer.momentum = momentum


# --- the memory bank and the losses against it ---

class Bank:
    def __init__(self, samples, options, generator):
        self.options, self.generator, self.device = options, generator, options.device
        rows = (2 * torch.rand(samples, DIM, generator=generator) - 1) * math.sqrt(3 / DIM)
        self.rows = functional.normalize(rows).to(self.device)
        self.filled = torch.zeros(samples, dtype=torch.bool, device=self.device)
        self.negatives = options.negatives or min(ALL_NEGATIVES, samples - 1)
        self.z = None           # Z / rows

    def draw(self, own):
        """The numbers of every sample's negatives; with replacement unless they are all others."""
        n, shape = len(self.rows), (len(own), self.negatives)
        if not self.options.exclude_positive:
            return torch.randint(n, shape, generator=self.generator).to(self.device)
        if self.negatives == n - 1:
            others = torch.arange(n - 1, device=self.device).expand(shape)
        else:
            others = torch.randint(n - 1, shape, generator=self.generator).to(self.device)
        return others + (others >= own[:, None])

    def scores(self, v, own):
        """Similarities over temperature: with the own row, and with the negatives."""
        drawn = self.draw(own)
        if 4 * drawn.shape[1] >= len(self.rows):
            negative = (v @ self.rows.T).gather(1, drawn)
        else:
            negative = torch.bmm(self.rows[drawn], v[:, :, None])[:, :, 0]
        positive = (v * self.rows[own]).sum(1)
        return positive / self.options.temperature, negative / self.options.temperature

    def contrast(self, v, own):
        """The loss, and the mean of exp (s / tau)."""
        positive, negative = self.scores(v, own)
        together = torch.cat([positive[:, None], negative], 1)
        mean_exp = together.detach().exp().mean()
        if self.options.loss == "infonce":
            return (together.logsumexp(1) - positive).mean(), mean_exp
        if self.z is None:
            self.z = mean_exp.clone()
        noise = self.negatives / len(self.rows)
        p = together.exp() / (self.z * len(self.rows))
        is_data = p[:, 0] / (p[:, 0] + noise + NCE_EPSILON)
        is_noise = noise / (p[:, 1:] + noise + NCE_EPSILON)
        return -(is_data.log() + is_noise.log().sum(1)).mean(), mean_exp

    @torch.no_grad()
    def update(self, v, own):
        keep = torch.full((len(own), 1), self.options.bank_momentum, device=self.device)
        if self.options.bank_update == "before":
            keep[~self.filled[own]] = 0
        self.rows[own] = functional.normalize(keep * self.rows[own] + (1 - keep) * v)
        self.filled[own] = True

    def follow_z(self, mean_exp):
        if self.z is not None and self.options.z_mode == "ema":
            self.z = Z_KEEP * self.z + (1 - Z_KEEP) * mean_exp

    def state(self):
        return {"rows": self.rows, "filled": self.filled, "z": self.z}

    def load(self, state):
        self.rows, self.filled, self.z = state["rows"], state["filled"], state["z"]


# --- training ---

def learning_rate(options, step):
    base = options.learning_rate * options.batch_size / 256
    if step < options.warmup:
        return base * (step + 1) / options.warmup
    steps = options.max_steps - options.warmup
    t = (step - options.warmup) / (steps - 1) if steps > 1 else 0
    return base * (LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * t)) / 2)


class Training:
    def __init__(self, samples, options):
        self.options, self.step = options, 0
        torch.manual_seed(options.seed)
        self.network = Network(options).to(options.device, memory_format=torch.channels_last)
        self.network.train()
        parameters = list(self.network.parameters())
        self.optimiser = torch.optim.SGD(
            [{"params": [p for p in parameters if p.ndim > 1],
              "weight_decay": options.weight_decay},
             {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0}],
            lr=0, momentum=options.momentum)
        self.generator = torch.Generator().manual_seed(options.seed)
        self.bank = Bank(samples, options, self.generator)

    def image_term(self, images, own):
        v = self.network.image_embedding(images)
        loss, mean_exp = self.bank.contrast(v, own)
        ((1 - self.options.lambda_) * loss).backward()
        self.bank.update(v.detach(), own)
        return loss.item(), mean_exp

    def patches_term(self, patches, own):
        keep = self.options.bn_statistics == "images"
        with kept_statistics(self.network) if keep else contextlib.nullcontext():
            v = self.network.patches_embedding(patches)
        loss, mean_exp = self.bank.contrast(v, own)
        (self.options.lambda_ * loss).backward()
        return loss.item(), mean_exp

    def train(self, images, patches, own):
        """One step; the losses of images and patches."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.options, self.step)
        self.optimiser.zero_grad(set_to_none=True)
        if self.options.bank_update == "before":
            image, image_exp = self.image_term(images, own)
            patch, patch_exp = self.patches_term(patches, own)
        else:
            patch, patch_exp = self.patches_term(patches, own)
            image, image_exp = self.image_term(images, own)
        self.optimiser.step()
        self.bank.follow_z((image_exp + patch_exp) / 2)
        self.step += 1
        return image, patch

    def save(self, path):
        state = {"step": self.step, "options": vars(self.options), "bank": self.bank.state(),
                 "network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(),
                 "generator": self.generator.get_state()}
        torch.save(state, f"{path}.new")
        os.replace(f"{path}.new", path)

    def load(self, path):
        state = torch.load(path, map_location=self.options.device, weights_only=True)
        for name, value in state["options"].items():
            if name in TRAINED_WITH and value != getattr(self.options, name):
                sys.exit(f"{path} was trained with {name} = {value}, not "
                         f"{getattr(self.options, name)}; go on as begun, or remove it")
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.bank.load(state["bank"])
        self.generator.set_state(state["generator"].cpu())

    def export(self, path):
        tensors = {name: value.float().contiguous().cpu()
                   for name, value in self.network.trunk.state_dict().items()
                   if not name.endswith("num_batches_tracked")}
        save_file(tensors, path, {
            "architecture": self.options.arch, "input_size": str(self.options.image_size),
            "mean": ",".join(map(str, MEAN)), "std": ",".join(map(str, STD))})


def run(options):
    """Trains; False when it was stopped before its end."""
    files = read_list(options.list)
    training = Training(len(files), options)
    if options.checkpoint_file and os.path.exists(options.checkpoint_file):
        training.load(options.checkpoint_file)
    stopped = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.append(True))
    loader = torch.utils.data.DataLoader(
        Views(files, options), batch_sampler=Batches(len(files), options, training.step),
        num_workers=options.workers, worker_init_fn=worker_begin)
    with open(options.log or os.devnull, "a", encoding="utf-8") as log:
        follow(training, loader, log, stopped)
    if options.checkpoint_file:
        training.save(options.checkpoint_file)
    finished = training.step == options.max_steps
    if finished and options.model_file:
        training.export(options.model_file)
    return finished


def worker_begin(_):
    """The parent says when to stop; one picture needs one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)


def follow(training, loader, log, stopped):
    options = training.options
    begun = said = saved = time.monotonic()
    first = training.step
    for images, patches, own in loader:
        image, patch = training.train(
            *(x.to(options.device, non_blocking=True) for x in (images, patches, own)))
        loss = options.lambda_ * patch + (1 - options.lambda_) * image
        record = {"step": training.step, "loss": loss, "image": image, "patches": patch}
        print(json.dumps(record), file=log, flush=True)
        if not math.isfinite(loss):
            sys.exit(f"step {training.step}: the loss is {loss}")
        now = time.monotonic()
        if now - said >= 5 or training.step == options.max_steps:
            rate = (training.step - first) * options.batch_size / (now - begun)
            left = (options.max_steps - training.step) * options.batch_size / rate
            print(f"step {training.step} of {options.max_steps}, loss {loss:.4f}, "
                  f"{rate:.1f} images/s, {left:.0f} s left", flush=True)
            said = now
        if options.checkpoint_file and now - saved >= SAVE_SECONDS:
            training.save(options.checkpoint_file)
            saved = now
        if stopped or training.step == options.stop_at:
            break


# --- oracles ---

def mean_exponential(temperature):
    """Of the similarity of random unit vectors: 0F1 (; d/2; 1 / (2 tau)^2)."""
    x, term, total = (1 / (2 * temperature)) ** 2, 1.0, 1.0
    for k in range(1, 200):
        term *= x / (k * (DIM / 2 + k - 1))
        total += term
    return total


def oracles(options):
    """The first losses of random unit vectors are ln (K M), and 1 more for NCE."""
    options.exclude_positive, options.device = True, "cpu"
    good, samples, batch, rounds = True, 20000, 256, 8
    for temperature, negatives in ((0.07, 1000), (0.1, 4096), (0.1, 19999)):
        for loss, extra in (("infonce", 0), ("nce", 1)):
            options.temperature, options.negatives, options.loss = temperature, negatives, loss
            generator = torch.Generator().manual_seed(3)
            bank, found = Bank(samples, options, generator), []
            for _ in range(rounds):
                v = functional.normalize(torch.randn(batch, DIM, generator=generator))
                own = torch.randint(samples, (batch,), generator=generator)
                found.append(bank.contrast(v, own)[0].item())
            m = mean_exponential(temperature)
            expected, mean = math.log(negatives * m) + extra, sum(found) / rounds
            # The positives' spread is 1 / (sqrt (dim) tau) a sample; three times that of the mean,
            # and the first batch's error of Z.
            allowed = 3 / (math.sqrt(DIM * batch * rounds) * temperature) + 0.01
            fits = abs(mean - expected) <= allowed
            good = good and fits
            print(f"tau {temperature}, {negatives} negatives, {loss}: {mean:.3f}, expected "
                  f"{expected:.3f} +- {allowed:.3f}{'' if fits else ' WRONG'}")
    return good


# --- options ---

# Name: default and choices; as the properties of pirljigsaw and pirltrainsink.
VIEWS = {
    "image-size": (64,), "crop-scale-min": (0.2,), "patch-crop-scale-min": (0.6,),
    "brightness": (0.4,), "contrast": (0.4,), "saturation": (0.4,), "hue": (0.4,),
    "grayscale": (0.2,), "photometric": (0.0,), "blur": (0.0,)}
TRAINING = {
    "arch": ("resnet18", "resnet34", "resnet50"), "head": ("bn", "linear", "mlp"),
    "loss": ("infonce", "nce"), "z-mode": ("ema", "first-batch"), "temperature": (0.2,),
    "negatives": (0,), "exclude-positive": ("true", "false"), "lambda": (0.5,),
    "bank-momentum": (0.5,), "bank-update": ("before", "after"),
    "bn-statistics": ("images", "both"), "batch-size": (64,), "learning-rate": (0.24,),
    "warmup": (10,), "momentum": (0.9,), "weight-decay": (1e-4,), "max-steps": (100,),
    "precision": ("f32", "bf16"), "seed": (0,), "init": ("torchvision", "default")}
# What a run that goes on must have as it began.
TRAINED_WITH = {name.replace("-", "_").replace("lambda", "lambda_")
                for name in (*VIEWS, *TRAINING)} | {"list"}


def arguments(words=None):
    """Of the command line, or of @words."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("list", nargs="?", metavar="LIST")
    for name, values in (VIEWS | TRAINING).items():
        what = {"dest": "lambda_"} if name == "lambda" else {}
        if isinstance(values[0], str):
            what["choices"] = values
        parser.add_argument(f"--{name}", type=type(values[0]), default=values[0], **what)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=0, help="that compute (0 = all cores)")
    parser.add_argument("--workers", type=int, default=2, help="processes that make views")
    parser.add_argument("--stop-at", type=int, default=0, metavar="STEP")
    for name in ("checkpoint-file", "model-file", "log"):
        parser.add_argument(f"--{name}", metavar="FILE")
    parser.add_argument("--oracles", action="store_true")
    options = parser.parse_args(words)
    options.exclude_positive = options.exclude_positive == "true"
    if not options.list and not options.oracles:
        parser.error("a LIST of pictures is needed")
    return options


def main():
    options = arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.oracles:
        return 0 if oracles(options) else 1
    return 0 if run(options) else 3


if __name__ == "__main__":
    sys.exit(main())
