#!/usr/bin/env python3
"""Writes the list of a published data set as pirldatasetsrc location= reads it.

  make-list.py voc07 VOCdevkit/VOC2007 > voc07.txt
  make-list.py places205 FOLDER > places205.txt
  make-list.py inat18 FOLDER > inat18.txt

What FOLDER holds, as the files were published:

  voc07      JPEGImages/ and ImageSets/Main/CLASS_trainval.txt, CLASS_test.txt; pictures show several
             classes, so the list is for pirlprobesink labels-file=, too; ?CLASS: difficult to say
  places205  train_places205.csv and val_places205.csv, there or in trainvalsplit_places205/, and the
             pictures there, in images256/ or in data/vision/torralba/deeplearning/images256/
  inat18     train2018.json and val2018.json, and the pictures in train_val2018/

ImageNet needs no list: train/nXXXXXXXX/ and val/nXXXXXXXX/ are read with labels=folder.
Paths in a list are absolute. Needs nothing but Python.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import json
import os
import pathlib
import sys

SPLITS = ("train", "test")


class Unusable(Exception):
    """The text says what is missing, and where it should be."""


def first_of(folder, places, what):
    """The first of the relative @places that there is."""
    for place in places:
        if (folder / place).exists():
            return folder / place
    raise Unusable(f"{folder}: there is no {what}; looked for " + ", ".join(places))


def voc07(folder):
    """Of each class a file of "PICTURE 1", -1 or 0: shows it, does not, difficult."""
    sets, pictures = folder / "ImageSets/Main", folder / "JPEGImages"
    for split, part in zip(SPLITS, ("trainval", "test")):
        files = sorted(sets.glob(f"*_{part}.txt"))
        if not files:
            raise Unusable(f"{sets}: there is no CLASS_{part}.txt")
        labels = {}
        for file in files:
            name = file.name.removesuffix(f"_{part}.txt")
            for line in file.read_text(encoding="utf-8").splitlines():
                picture, says = line.split()
                shown = labels.setdefault(picture, [])
                if says != "-1":
                    shown.append(name if says == "1" else f"?{name}")
        for picture, shown in sorted(labels.items()):
            yield pictures / f"{picture}.jpg", ",".join(shown), split


def places205(folder):
    """Lines of "PICTURE NUMBER"; the first one tells where the pictures are."""
    roots, root = ("", "images256/", "data/vision/torralba/deeplearning/images256/"), None
    for split, name in zip(SPLITS, ("train_places205.csv", "val_places205.csv")):
        table = first_of(folder, (name, f"trainvalsplit_places205/{name}"), "table of labels")
        for line in table.read_text(encoding="utf-8").splitlines():
            path, number = line.rsplit(None, 1)
            if root is None:
                picture = first_of(folder, [r + path for r in roots], "picture of the table")
                root = str(picture).removesuffix(path)
            yield root + path, number, split


def inat18(folder):
    """Images and annotations as COCO has them."""
    for split, name in zip(SPLITS, ("train2018.json", "val2018.json")):
        table = json.loads(first_of(folder, (name,), "table of labels").read_text(encoding="utf-8"))
        label = {of["image_id"]: of["category_id"] for of in table["annotations"]}
        for image in table["images"]:
            yield folder / image["file_name"], label[image["id"]], split


SETS = {"voc07": voc07, "places205": places205, "inat18": inat18}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("folder", type=pathlib.Path)
    options = parser.parse_args()
    try:
        rows = list(SETS[options.set](options.folder.resolve()))
    except (Unusable, OSError) as error:
        sys.exit(f"make-list: {error}")
    except (ValueError, KeyError) as error:
        sys.exit(f"make-list: {options.folder}: this is not {options.set} as it was published: "
                 f"{error!r}")
    sys.stdout.buffer.write(os.fsencode("".join(
        f"{path}\t{label}\t{split}\n" for path, label, split in rows)))


if __name__ == "__main__":
    main()
