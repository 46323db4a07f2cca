"""Programs that tests/bench/run times in turns, as tests/bench/turns.h says, in Python.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import os
import sys
import time


def cpu_seconds():
    """Of this process, its threads and its children, running ones included."""
    tick = os.sysconf("SC_CLK_TCK")
    total = time.process_time()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid():
                total += (int(fields[11]) + int(fields[12])) / tick
    return total


def serve(work, **facts):
    """@work does one turn and returns (items, check); @facts go into every line."""
    while True:
        wall, cpu = time.monotonic(), cpu_seconds()
        items, check = work()
        seconds, cpu = time.monotonic() - wall, cpu_seconds() - cpu
        print(json.dumps({"items": items, "seconds": seconds, "cpu": cpu, "check": check, **facts}),
              flush=True)
        if not sys.stdin.readline():
            return
