#!/usr/bin/env python3
"""Prints the digests of float conversions that tests/kernels/base-test.c holds.

What a conversion must give comes from numpy (F16) and PyTorch (BF16), both rounding to nearest
even. NaNs are left out: which payload survives is nobody's standard.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import hashlib

import numpy as np
import torch


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def to_bfloat(values):
    return torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)


every16 = np.arange(65536, dtype=np.uint16)
halves = every16.view(np.float16).astype(np.float32)
print("F16 to float, not NaN:       ", digest(halves[~np.isnan(halves)]))

# Floats of every exponent, and all ties between neighbouring halves.
spread = (np.arange(65536, dtype=np.uint64) * 65521 % 2**32).astype(np.uint32).view(np.float32)
spread = spread[~np.isnan(spread)]
finite = every16[:0x7c00].view(np.float16).astype(np.float64)
ties = ((finite[1:] + finite[:-1]) / 2).astype(np.float32)
with np.errstate(over="ignore"):
    print("float to F16, spread:        ", digest(spread.astype(np.float16)))
    print("float to F16, ties of halves:", digest(ties.astype(np.float16)))
print("float to BF16, spread:       ", digest(to_bfloat(spread)))
ties = ((every16.astype(np.uint32) << 16) | 0x8000).view(np.float32)
print("float to BF16, ties:         ", digest(to_bfloat(ties[~np.isnan(ties)])))
