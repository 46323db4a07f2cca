#!/usr/bin/env python3
"""torchvision's ImageFolder listing a folder and loading its first picture; prints what input-bench start
does: pictures, seconds of wall and CPU time, and by how many bytes the resident memory grew at most.

  imagefolder.py FOLDER

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import pathlib
import sys
import time

from torchvision.datasets import ImageFolder


def memory(field):
    text = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(text.split(field + ":")[1].split()[0])


def main():
    before, wall, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    pictures = ImageFolder(sys.argv[1])
    pictures[0]  # pylint: disable=pointless-statement
    print(json.dumps({"items": len(pictures), "seconds": time.perf_counter() - wall,
                      "cpu": time.process_time() - cpu, "bytes": memory("VmHWM") - before}))


if __name__ == "__main__":
    main()
