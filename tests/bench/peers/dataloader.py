#!/usr/bin/env python3
"""torchvision's DataLoader making PIRL's two views as pirljigsaw does; one of tests/bench/run's programs.

  dataloader.py LIST WORKERS EPOCHS

Pillow decodes the JPEG files that LIST names, and each becomes, in WORKERS processes that stay, an
image view (random crop of .2 to 1 of the area to 224, flip, colour jitter .4, greys .2) and nine
patches of 64 in a random order from the cells of a second crop (.6 to 1, to 255), each with its own
flip, jitter and greys: pirljigsaw's defaults. Views leave as uint8 tensors, as there, 16 pictures a
batch. The first turn starts the workers.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import pathlib
import random
import sys

import torch
from PIL import Image
from torchvision import transforms

import turns

CELL, PATCH, GRID = 85, 64, 3


def colour():
    return transforms.Compose([
        transforms.RandomHorizontalFlip(), transforms.ColorJitter(.4, .4, .4, .4),
        transforms.RandomGrayscale(.2), transforms.PILToTensor()])


class Views(torch.utils.data.Dataset):
    def __init__(self, files):
        self.files = files
        self.image_crop = transforms.RandomResizedCrop(224, scale=(.2, 1), antialias=True)
        self.puzzle_crop = transforms.RandomResizedCrop(CELL * GRID, scale=(.6, 1), antialias=True)
        self.colour = colour()

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        picture = Image.open(self.files[i]).convert("RGB")
        image = self.colour(self.image_crop(picture))
        puzzle, patches = self.puzzle_crop(picture), []
        for cell in range(GRID * GRID):
            x = cell % GRID * CELL + random.randint(0, CELL - PATCH)
            y = cell // GRID * CELL + random.randint(0, CELL - PATCH)
            patches.append(self.colour(puzzle.crop((x, y, x + PATCH, y + PATCH))))
        random.shuffle(patches)
        return image, torch.stack(patches)


def main():
    files = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8").split("\n")
    workers, epochs = int(sys.argv[2]), int(sys.argv[3])
    loader = torch.utils.data.DataLoader(
        Views([name for name in files if name] * epochs), batch_size=16, num_workers=workers,
        persistent_workers=True, prefetch_factor=4)
    turns.serve(lambda: (sum(len(image) for image, _ in loader), 0),
                peer_name=f"torchvision DataLoader, {workers} workers")


if __name__ == "__main__":
    main()
