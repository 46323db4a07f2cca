#!/usr/bin/env python3
"""Is the accuracy after training on a card the CPU's? learning.py CPU.json RUNS [OUT]

RUNS holds a line of JSON a training (train-synthetic --knn). Of each precision the mean over the
seeds must be at most two points below the CPU's mean. OUT: both, as JSON.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import os
import pathlib
import statistics
import sys

WITHIN = 0.02


def describe(values):
    error = statistics.stdev(values) / len(values) ** .5 if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.4f} +- {error:.4f} ({len(values)} seeds)"


def main():
    cpu = [run["knn"] for run in json.loads(pathlib.Path(sys.argv[1]).read_text())["runs"]]
    runs = [json.loads(line) for line in pathlib.Path(sys.argv[2]).read_text().splitlines()]
    print(f"kNN on the CPU in f32: {describe(cpu)}")
    good, judged = bool(runs), not os.environ.get("PIRL_CHECK_TINY")
    for precision in sorted({run["precision"] for run in runs}):
        values = [run["knn"] for run in runs if run["precision"] == precision]
        # An emulated card trains a few steps only, to see that it can.
        fits = not judged or statistics.mean(values) >= statistics.mean(cpu) - WITHIN
        good = good and fits
        print(f"kNN on the card in {precision}: {describe(values)}{'' if fits else ' TOO LOW'}")
    if len(sys.argv) > 3:
        pathlib.Path(sys.argv[3]).write_text(json.dumps({"cpu": cpu, "card": runs}) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
