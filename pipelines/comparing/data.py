"""What is compared on: the pictures of a folder, their classes and their splits.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import collections
import hashlib
import os
import pathlib

TRAIN = {"train", "training"}
TEST = {"test", "testing", "val", "valid", "validation"}
SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png"}
TEST_PART = 5                   # one picture in so many is for the test, where there are no splits


class Unusable(Exception):
    """The folder cannot be compared on; the text says why and what would do."""


def pictures_in(folder):
    """Paths below @folder, relative, in the order of pirldatasetsrc; names that cannot stand in a
    list are left out."""
    found = []
    for where, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = os.path.relpath(os.path.join(where, name), folder)
            if (pathlib.Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
                    and "\t" not in path and "\n" not in path):
                found.append(path)
    return sorted(found, key=os.fsencode)


def split_folder(folder, words):
    """The folder in @folder that is called like one of @words, or None."""
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and entry.name.lower() in words:
            return entry
    return None


class Data:
    """@train, @test and @all: words of pirldatasetsrc; @train_classes and @test_classes: the class
    of each picture, in the listing's order; all but @train are empty without labels."""

    def __init__(self, folder, out, name=""):
        self.folder = pathlib.Path(folder).resolve()
        self.lists = pathlib.Path(out) / "lists"
        self.name = name
        self.train = self.test = self.all = ()
        self.train_classes = self.test_classes = ()
        if not self.folder.is_dir():
            raise Unusable(f"{folder}: there is no such folder")
        train, test = split_folder(self.folder, TRAIN), split_folder(self.folder, TEST)
        paths = self._use_splits(train, test) if train and test else self._split()
        if not paths:
            raise Unusable(f"{folder}: there are no pictures (.jpg, .jpeg, .png) in it")
        text = "\n".join(paths) + "\n".join(self.train_classes)
        self.digest = hashlib.sha256(os.fsencode(text)).hexdigest()[:16]
        self.classes = sorted(set(self.train_classes), key=os.fsencode)
        self.count = len(self.train_classes) or len(paths)
        if set(self.test_classes) - set(self.classes):
            unknown = ", ".join(sorted(set(self.test_classes) - set(self.classes)))
            raise Unusable(f"{folder}: no training pictures of the classes {unknown}")

    def labelled(self):
        return len(self.classes) > 1

    def location(self, words):
        """Of words of pirldatasetsrc, the location."""
        return words[1].removeprefix("location=")

    def part(self, fraction):
        """How many training pictures pirldatasetsrc fraction= leaves."""
        if not self.labelled():
            return max(1, int(fraction * self.count + .5))
        sizes = collections.Counter(self.train_classes)
        return sum(max(1, int(fraction * size + .5)) for size in sizes.values())

    def _use_splits(self, train, test):
        paths = []
        for folder in (train, test):
            inside = pictures_in(folder)
            classes = tuple(path.split(os.sep)[0] for path in inside)
            if any(os.sep not in path for path in inside):
                raise Unusable(f"{folder}: some pictures are in no class's folder")
            if folder == train:
                self.train_classes = classes
            else:
                self.test_classes = classes
            paths += [os.path.join(folder.name, path) for path in inside]
        self.train = ("pirldatasetsrc", f"location={train}", "labels=folder")
        self.test = ("pirldatasetsrc", f"location={test}", "labels=folder")
        self.all = ("pirldatasetsrc", f"location={self.folder}", "labels=folder")
        if len(pictures_in(self.folder)) != len(paths):
            # There is more in it: another test's pictures, or what belongs to neither.
            splits = ["train"] * len(self.train_classes) + ["test"] * len(self.test_classes)
            self.all = self._write_lists(zip(paths, self.train_classes + self.test_classes,
                                             splits))["all"]
        return paths

    def _split(self):
        """One folder: classes are its folders, and a fifth of each is for the test."""
        paths = pictures_in(self.folder)
        if len({path.split(os.sep)[0] for path in paths}) < 2 or any(
                os.sep not in path for path in paths):
            self.train = ("pirldatasetsrc", f"location={self.folder}")
            return paths
        test, by_class = set(), collections.defaultdict(list)
        for path in paths:
            by_class[path.split(os.sep)[0]].append(path)
        for mine in by_class.values():
            mine.sort(key=lambda path: hashlib.sha256(os.fsencode(path)).digest())
            # One that is alone is for training: nobody can be tested on what is not learnt.
            test.update(mine[:max(len(mine) > 1, len(mine) // TEST_PART)])
        rows = [(path, path.split(os.sep)[0], "test" if path in test else "train")
                for path in paths]
        lists = self._write_lists(rows)
        self.train, self.test, self.all = lists["train"], lists["test"], lists["all"]
        self.train_classes, self.test_classes = (
            tuple(name for _, name, part in rows if part == kind) for kind in ("train", "test"))
        return paths

    def _write_lists(self, rows):
        """Words of pirldatasetsrc for "train", "test" and "all" of (path in the folder, class,
        split)."""
        rows, found = list(rows), {}
        # Labels that are all numbers would be the classes' numbers, and not their names.
        mark = "class " if all(name.isdigit() for _, name, _ in rows) else ""
        self.lists.mkdir(parents=True, exist_ok=True)
        for kind in ("train", "test", "all"):
            where = self.lists / f"{self.name or 'pictures'}-{kind}.txt"
            where.write_bytes(os.fsencode("".join(
                f"{self.folder / path}\t{mark}{name}\t{part}\n" for path, name, part in rows
                if kind in ("all", part))))
            found[kind] = ("pirldatasetsrc", f"location={where}")
        return found
