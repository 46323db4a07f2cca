#!/usr/bin/env python3
"""ONNX Runtime alone embeds FRAMES pictures, for tests/bench/run to see how much memory that takes.

  embed_memory.py NETWORK.onnx THREADS FRAMES

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import sys

import numpy as np
import onnxruntime


def main():
    threads, frames = map(int, sys.argv[2:4])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    picture = np.zeros((1, 3, 224, 224), np.float32)
    for _ in range(frames):
        session.run(None, {"x": picture})


if __name__ == "__main__":
    main()
