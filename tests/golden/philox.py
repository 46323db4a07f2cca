"""The random streams of kernels/base/rng.h, in numpy, many at once.

Written from Salmon et al. (SC 2011) and from the header's description of the streams, not from
rng.c: it is the second opinion. `python3 philox.py` checks it against the published vectors.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import numpy as np

SHUFFLE, VIEW, PRETEXT, NEGATIVES, NEGATIVES_PRETEXT, BANK, WEIGHTS = range(1, 8)
TEST = 255

U32 = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)


def philox4x32_10(counter, key):
    """counter: four arrays (or numbers) of 32-bit words, key: two words -> four arrays."""
    c = [np.asarray(word, dtype=np.uint64) for word in counter]
    k = [int(word) for word in key]
    for _ in range(10):
        left, right = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(right >> SHIFT) ^ c[1] ^ np.uint64(k[0]), right & U32,
             (left >> SHIFT) ^ c[3] ^ np.uint64(k[1]), left & U32]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def words(seed, epoch, index, purpose, n):
    """The first n words of the stream (seed, epoch, index, purpose)."""
    counter = (np.arange((n + 3) // 4), epoch, index & 0xFFFFFFFF,
               index >> 32 & 0xFFFFFF | purpose << 24)
    blocks = philox4x32_10(counter, (seed & 0xFFFFFFFF, seed >> 32))
    return np.stack(np.broadcast_arrays(*blocks), axis=-1).reshape(-1)[:n]


def uniform(seed, epoch, index, purpose, n):
    """[0, 1), as float64 holding exact floats."""
    return (words(seed, epoch, index, purpose, n) >> np.uint64(8)).astype(np.float64) * 2.0**-24


def uniform_range(seed, epoch, index, purpose, n, lo, hi):
    """lo and hi are floats there: rounded to float32 before, and so is the result."""
    lo, hi = float(np.float32(lo)), float(np.float32(hi))
    return (lo + (hi - lo) * uniform(seed, epoch, index, purpose, n)).astype(np.float32)


def normal(seed, epoch, index, purpose, n):
    """Box-Muller, cosine branch, two words a draw."""
    u = uniform(seed, epoch, index, purpose, 2 * n)
    radius = np.sqrt(-2.0 * np.log(1.0 - u[0::2]))
    return (radius * np.cos(2.0 * np.pi * u[1::2])).astype(np.float32)


def below(seed, epoch, index, purpose, n, bound):
    """n unbiased draws from [0, bound): Lemire's rejection."""
    surplus = (2**32 - bound) % bound
    spare = words(seed, epoch, index, purpose, 2 * n + 64)
    drawn = []
    for word in spare:
        product = int(word) * bound
        if product & 0xFFFFFFFF >= surplus:
            drawn.append(product >> 32)
        if len(drawn) == n:
            return np.array(drawn, dtype=np.int64)
    raise ValueError("too many rejections")


if __name__ == "__main__":
    vectors = [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
         "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ]
    for counter, key, expected in vectors:
        got = " ".join(f"{int(word):08x}" for word in philox4x32_10(counter, key))
        assert got == expected, (got, expected)
    print("philox4x32-10: the three published vectors agree")
    stream = (0x123456789ABCDEF0, 3, 0xAABBCCDDEEFF11, TEST)
    print("words  ", " ".join(f"0x{int(word):08x}," for word in words(*stream, 6)))
    print("normal ", ", ".join(f"{x:.9g}" for x in normal(*stream, 4)))
    print("below 7", below(*stream, 12, 7).tolist())
    print("range  ", ", ".join(f"{x:.9g}" for x in uniform_range(*stream, 4, -0.3, 0.7)))
