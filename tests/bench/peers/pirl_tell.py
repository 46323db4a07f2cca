#!/usr/bin/env python3
"""Can a network tell pirljigsaw's views from those that PyTorch makes of the same pictures?

  pirl_tell.py LIST VIEWS [--hue 0.3 ...]

VIEWS: what pirljigsaw sent of LIST's pictures, in order. The options are pirl_reference.py's. A
network that sees a picture's image view and its patches together learns on nine tenths of the
pictures which side made them, and says so of the others. Where both draw from one distribution it
is right half the time; ends with 1 where it is right more often by three standard errors.

Method: Lopez-Paz and Oquab, "Revisiting Classifier Two-Sample Tests", 2017.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import math
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import pirl_reference
from pirl_reference import GRID

EPOCHS, BATCH, RATE = 4, 128, 3e-3
TESTED = 10                     # one picture in so many
SURE = 3                        # standard errors


def tower():
    layers, channels = [], 3
    for wider, kernel, stride in ((32, 5, 2), (48, 3, 1), (64, 3, 2), (96, 3, 2)):
        layers += [nn.Conv2d(channels, wider, kernel, stride, kernel // 2, bias=False),
                   nn.BatchNorm2d(wider), nn.ReLU()]
        channels = wider
    return nn.Sequential(*layers)


class Judge(nn.Module):
    """The odds that PyTorch made a picture's views."""

    def __init__(self):
        super().__init__()
        self.image, self.patches = tower(), tower()
        self.hidden, self.odds = nn.Linear(4 * 96, 64), nn.Linear(64, 1)

    def forward(self, images, patches):
        found = []
        for of, x in ((self.image, images), (self.patches, patches)):
            x = of((x.float() - 118) / 60)      # about mean and deviation of pixels
            found += [x.mean((2, 3)), x.amax((2, 3))]
        return self.odds(functional.relu(self.hidden(torch.cat(found, 1))))[:, 0]


def mosaic(patches):
    """The patches of a sample as one picture."""
    n, _, channels, side, _ = patches.shape
    patches = patches.reshape(n, GRID, GRID, channels, side, side).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(n, channels, GRID * side, GRID * side)


def our_views(path, views, size):
    image, patches = 3 * size ** 2, 3 * (GRID * views.patch) ** 2
    raw = torch.from_numpy(np.fromfile(path, np.uint8)).view(-1, image + patches)
    images = raw[:, :image].reshape(-1, size, size, 3).permute(0, 3, 1, 2)
    side = (-1, GRID * GRID, views.patch, views.patch, 3)
    return images, mosaic(raw[:, image:].reshape(side).permute(0, 1, 4, 2, 3))


def peer_views(views, options):
    loader = torch.utils.data.DataLoader(
        views, sampler=[(0, i) for i in range(len(views.files))], batch_size=BATCH,
        num_workers=options.workers, worker_init_fn=pirl_reference.worker_begin)
    images, patches = zip(*((images, mosaic(patches)) for images, patches, _ in loader))
    return torch.cat(images), torch.cat(patches)


def learn(judge, pairs, made):
    optimiser = torch.optim.AdamW(judge.parameters(), weight_decay=1e-2)
    steps = -(-len(made) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * steps)
    for epoch in range(EPOCHS):
        total = 0
        for chosen in torch.randperm(len(made)).split(BATCH):
            loss = functional.binary_cross_entropy_with_logits(
                judge(*(x[chosen] for x in pairs)), made[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {total / steps:.4f}", flush=True)


def main():
    our_file = sys.argv.pop(2)
    options = pirl_reference.arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    views = pirl_reference.Views(pirl_reference.read_list(options.list), options)
    ours, peer = our_views(our_file, views, options.image_size), peer_views(views, options)
    if len(ours[0]) != len(peer[0]):
        sys.exit(f"{our_file} has {len(ours[0])} pictures, {options.list} {len(peer[0])}")
    pairs = [torch.cat(both) for both in zip(ours, peer)]
    made = torch.arange(2).repeat_interleave(len(views.files)).float()
    tested = torch.arange(len(views.files)).repeat(2) % TESTED == 0
    judge = Judge()
    learn(judge, [x[~tested] for x in pairs], made[~tested])
    judge.eval()
    with torch.no_grad():
        odds = torch.cat([judge(*some) for some in zip(*(x[tested].split(BATCH) for x in pairs))])
    right = ((odds > 0) == (made[tested] > 0)).float().mean().item()
    error = .5 / math.sqrt(len(odds))
    told = right > .5 + SURE * error
    print(f"right on {100 * right:.1f} % of {len(odds)} views, by chance 50 +- {100 * error:.1f}: "
          f"{'TOLD APART' if told else 'not told apart'}")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
