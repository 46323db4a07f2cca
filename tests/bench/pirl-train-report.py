#!/usr/bin/env python3
"""Puts the results of tests/bench/pirl-train together: pirl-train-report.py FOLDER [OUT]

Prints a table and, of each objective, the ratio of the best of ours to PyTorch's best; writes
{"runs": [...], "best": {...}} to OUT. Ends with 1 when there is nothing to compare.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import pathlib
import sys


def name(run):
    how = run["program"] + (f" {run['mode']}" if "mode" in run else "")
    return f"{run['objective']:<10} {how:<22} {run['precision']:<5} {run['batch']:>5}"


def share_of_nce(run):
    parts = run.get("parts_ms", {})
    return round(100 * parts["nce"] / run["step_ms"], 2) if "nce" in parts else None


def best(runs):
    found = {}
    for objective in sorted({run["objective"] for run in runs}):
        ours, theirs = ([run for run in runs if run["objective"] == objective
                         and (run["program"] == "gst-pirl") == own] for own in (True, False))
        entry = {}
        for key, some in (("ours", ours), ("pytorch", theirs)):
            if some:
                entry[key] = max(some, key=lambda run: run["images_per_second"])
        if len(entry) == 2:
            entry["ratio"] = round(entry["ours"]["images_per_second"]
                                   / entry["pytorch"]["images_per_second"], 3)
        found[objective] = entry
    return found


def main():
    folder = pathlib.Path(sys.argv[1])
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    print(f"{'':<45} {'images/s':>9} {'ms a step':>10} {'busy %':>7} {'card MB':>8} {'NCE %':>6}")
    for run in runs:
        run["nce_percent"] = share_of_nce(run)
        cells = [run.get("gpu_busy_percent", ""), run.get("gpu_memory_mb", ""), run["nce_percent"]]
        cells = ["" if cell is None else cell for cell in cells]
        print(f"{name(run):<45} {run['images_per_second']:>9.1f} {run['step_ms']:>10.2f} "
              f"{cells[0]:>7} {cells[1]:>8} {cells[2]:>6}")
    found = best(runs)
    for objective, entry in found.items():
        if "ratio" in entry:
            ours, theirs = entry["ours"], entry["pytorch"]
            print(f"{objective}: {ours['images_per_second']:.0f} images/s ({ours['precision']}, "
                  f"batch {ours['batch']}) against PyTorch's {theirs['images_per_second']:.0f} "
                  f"({theirs['mode']}, {theirs['precision']}, batch {theirs['batch']}): "
                  f"ratio {entry['ratio']:.3f}")
    if len(sys.argv) > 2:
        pathlib.Path(sys.argv[2]).write_text(
            json.dumps({"runs": runs, "best": found}, indent=1) + "\n")
    return 0 if any("ratio" in entry for entry in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
