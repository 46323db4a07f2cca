#!/usr/bin/env python3
"""Puts what tests/gpu-check found together: report.py FOLDER [OUT]

FOLDER holds "facts" (name, tab, value) and for each part NUMBER.part (group, name, result, seconds),
NUMBER.log and perhaps NUMBER.out, JSON of its own. Parts are added to what OUT holds already. The
last line counts the parts of this run; ends 1 when one of them failed.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import collections
import json
import pathlib
import sys

LAST_LINES = 25


def read_json(path):
    """A value, or the list of those on its lines; None where there is none."""
    if not path.exists() or not path.stat().st_size:
        return None
    text = path.read_text()
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines()]


def read_part(path):
    group, name, result, seconds = path.read_text().rstrip("\n").split("\t")
    lines = path.with_suffix(".log").read_text(errors="replace").splitlines()
    part = {"group": group, "result": result.lower(), "seconds": int(seconds),
            "last": lines[-LAST_LINES if result != "passed" else -3:]}
    try:
        found = read_json(path.with_suffix(".out"))
    except json.JSONDecodeError as error:
        found, part["result"] = None, "failed"
        part["last"].append(f"its JSON is broken: {error}")
    if found is not None:
        part["found"] = found
    return name, part


def main():
    folder = pathlib.Path(sys.argv[1])
    facts = dict(line.split("\t") for line in (folder / "facts").read_text().splitlines())
    parts = dict(read_part(path) for path in sorted(folder.glob("*.part")))
    if len(sys.argv) > 2:
        out = pathlib.Path(sys.argv[2])
        before = json.loads(out.read_text()) if out.exists() else {"parts": {}}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(
            {"machine": facts, "parts": before["parts"] | parts}, indent=1) + "\n")
        print(f"written to {out}")
    count = collections.Counter(part["result"] for part in parts.values())
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if count["failed"] or not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
