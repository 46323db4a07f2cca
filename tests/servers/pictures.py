"""What the servers see on a picture: a baseline JPEG is decoded as far as its coefficients.

The labels depend on the mean brightness, by the decoded DC coefficients, and on the quality, by the
quantisation table: below the setting "threshold" a picture is only a blur.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import collections
import functools
import struct

from misbehave import Complaint, demand

# Annex K's table for luminance, which quality 50 is, in zigzag order.
ANNEX_K = [
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35,
    37, 29, 40, 58, 51, 61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109,
    81, 87, 95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99]
STEPS = 8

Picture = collections.namedtuple("Picture", "width height quality brightness blocks")
# What a service says; place: its number in the vocabulary.
Label = collections.namedtuple("Label", "place name mid chinese score")

NAMES = [("Night", "/m/01d74z", "夜晚"), ("Shadow", "/m/0d4v4", "阴影"),
         ("Tree", "/m/07j7r", "树"), ("Golden Retriever", "/m/01t032", "金毛犬"),
         ("Car", "/m/0k4j", "汽车"), ("Street", "/m/01c8br", "街道"),
         ("Sky", "/m/01bqvp", "天空"), ("Snow", "/m/06_dn", "雪")]
BLURS = [("Blur", "/m/01g5v", "模糊"), ("Pattern", "/m/0hwky", "图案"),
         ("Colour", "/m/01jwgf", "颜色"), ("Texture", "/m/07s6nbt", "纹理"),
         ("Square", "/m/0dl567", "方块")]
SCORES = [0.9, 0.7, 0.5, 0.3, 0.1]


def jpeg_quality(picture):
    """By the first quantisation table; 0 when there is none."""
    at = picture.find(b"\xff\xdb")
    table = picture[at + 5:at + 69]
    # What has reached the largest number says nothing.
    pairs = [(entry, base) for entry, base in zip(table, ANNEX_K) if entry < 255]
    if at < 0 or len(table) < 64 or not pairs:
        return 0
    scale = 100 * sum(entry for entry, _ in pairs) / sum(base for _, base in pairs)
    return round(5000 / scale if scale > 100 else (200 - scale) / 2)


def segments(data):
    """(marker, content) up to and with the start of scan; its entropy-coded data, EOI cut off."""
    demand(data[:2] == b"\xff\xd8", "the picture does not begin like a JPEG", "picture")
    demand(data[-2:] == b"\xff\xd9", "the picture does not end like a JPEG", "picture")
    found, at = [], 2
    while not found or found[-1][0] != 0xda:
        demand(at + 4 <= len(data) and data[at] == 0xff, "a JPEG marker is missing", "picture")
        length = struct.unpack(">H", data[at + 2:at + 4])[0]
        demand(at + 2 + length <= len(data) - 2, "a JPEG segment is too long", "picture")
        found.append((data[at + 1], data[at + 4:at + 2 + length]))
        at += 2 + length
    return found, data[at:-2]


@functools.lru_cache(maxsize=64)
def huffman(counts, symbols):
    """For each 16 bits: (length of the code at their beginning, its symbol); 0xff = no code."""
    table, at = [], 0
    for length, n in enumerate(counts, 1):
        for symbol in symbols[at:at + n]:
            table += [(length, symbol)] * (1 << 16 - length)
        at += n
    demand(at == len(symbols) and len(table) <= 65536, "a Huffman table is wrong", "picture")
    return table + [(0, 0xff)] * (65536 - len(table))


def read_tables(found):
    quantisation, codes, restart = {}, {}, 0
    for marker, content in found:
        at = 0
        while marker == 0xdb and at < len(content):
            demand(content[at] >> 4 == 0, "16-bit quantisation is not baseline", "picture")
            quantisation[content[at] & 15] = content[at + 1:at + 65]
            at += 65
        while marker == 0xc4 and at < len(content):
            counts = content[at + 1:at + 17]
            codes[content[at]] = huffman(counts, content[at + 17:at + 17 + sum(counts)])
            at += 17 + sum(counts)
        if marker == 0xdd:
            restart = struct.unpack(">H", content)[0]
    return quantisation, codes, restart


def read_frame(found):
    """(width, height, {component: (horizontal, vertical, quantisation table)})."""
    frames = [(marker, content) for marker, content in found
              if 0xc0 <= marker <= 0xcf and marker not in (0xc4, 0xc8, 0xcc)]
    demand(len(frames) == 1 and frames[0][0] == 0xc0, "the JPEG is not baseline", "picture")
    depth, height, width, n = struct.unpack(">BHHB", frames[0][1][:6])
    demand(depth == 8 and width and height, "the JPEG's frame header is wrong", "picture")
    rows = [frames[0][1][6 + 3 * i:9 + 3 * i] for i in range(n)]
    return width, height, {row[0]: (row[1] >> 4, row[1] & 15, row[2]) for row in rows}


class Scan:
    """Bits of the entropy-coded data between two restarts."""

    def __init__(self, data):
        self.data, self.at, self.bits, self.n = data.replace(b"\xff\x00", b"\xff"), 0, 0, 0

    def block(self, dc, ac):
        """Reads one block; returns the difference of its DC coefficient."""
        data, at, bits, n = self.data, self.at, self.bits, self.n
        place, difference, table = 0, 0, dc
        while place < 64:
            if n < 32:
                more = int.from_bytes(data[at:at + 4].ljust(4, b"\xff"))
                bits = (bits & (1 << n) - 1) << 32 | more
                at, n = at + 4, n + 32
            length, symbol = table[bits >> n - 16 & 65535]
            size = symbol & 15
            if size > 11:
                raise Complaint("the entropy-coded data are wrong", "picture")
            n -= length + size
            if place == 0:
                value = bits >> n & (1 << size) - 1
                difference = value if not size or value >> size - 1 else value - (1 << size) + 1
                table = ac
            elif size == 0 and symbol != 0xf0:
                break
            else:
                place += symbol >> 4
            place += 1
        demand(place <= 64, "a block has more than 64 coefficients", "picture")
        self.at, self.bits, self.n = at, bits, n
        return difference

    def left(self):
        """Bits that were not read; negative: that were missing."""
        return 8 * (len(self.data) - self.at) + self.n


def split_scan(data, restart):
    """The pieces between restart markers."""
    pieces, begin = [], 0
    while restart:
        found = [data.find(bytes([0xff, 0xd0 + k]), begin) for k in range(8)]
        at = min((i for i in found if i >= 0), default=None)
        if at is None:
            break
        pieces.append(data[begin:at])
        begin = at + 2
    return pieces + [data[begin:]]


def walk(header, components, codes):
    """(component, DC table, AC table) of each block of one MCU, in order."""
    chosen = [(header[1 + 2 * i], header[2 + 2 * i]) for i in range(header[0])]
    demand(sorted(name for name, _ in chosen) == sorted(components),
           "the scan is not of all components", "picture")
    order = []
    for name, tables in chosen:
        across, down, _ = components[name] if len(components) > 1 else (1, 1, 0)
        order += [(name, codes[tables >> 4], codes[16 + (tables & 15)])] * (across * down)
    return order


def decode(data, most=None):
    """Decodes at most so many MCUs; all of them must be there and fill the data."""
    found, scan_data = segments(data)
    quantisation, codes, restart = read_tables(found)
    width, height, components = read_frame(found)
    order = walk(found[-1][1], components, codes)
    first = order[0][0]
    single = len(components) == 1
    side = [8 if single else 8 * max(c[i] for c in components.values()) for i in (0, 1)]
    mcus = -(-width // side[0]) * -(-height // side[1])
    pieces, total, sum_dc, n_dc = split_scan(scan_data, restart), 0, 0, 0
    for piece in pieces:
        scan, dc = Scan(piece), dict.fromkeys(components, 0)
        for _ in range(min(restart or mcus, mcus - total)):
            if total == most:
                break
            for name, dc_table, ac_table in order:
                dc[name] += scan.block(dc_table, ac_table)
                if name == first:
                    sum_dc += dc[name]
                    n_dc += 1
            total += 1
        demand(scan.left() >= 0, "the picture's data end too early", "picture")
        demand(total == most or scan.left() < 8, "there are data behind the last block", "picture")
    demand(total == mcus or total == most, "blocks of the picture are missing", "picture")
    scale = quantisation[components[first][2]][0] / 8
    brightness = 128 + scale * sum_dc / n_dc if n_dc else 128
    return Picture(width, height, jpeg_quality(data), brightness, total * len(order))


def look(server, data):
    """Decodes a picture as far as the setting "decode" says: true = all of it, a number = so many
    MCUs, false = not at all, for things that only begin and end like a JPEG."""
    how = server.settings.get("decode", True)
    if how is False:
        demand(data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9", "the picture is no JPEG",
               "picture")
        picture = Picture(0, 0, jpeg_quality(data), 128, 0)
    else:
        picture = decode(data, None if how is True else how)
    server.count("pictures")
    server.last.update(size=len(data), quality=picture.quality, width=picture.width,
                       height=picture.height, brightness=round(picture.brightness, 1))
    return picture


def check_sides(picture, least, most):
    sides = picture.width, picture.height
    demand(least <= min(sides) and max(sides) <= most,
           f"a picture of {sides[0]}x{sides[1]} is beyond the sides {least} to {most}", "picture")


def labels(server, picture):
    """Five of them, best first; none for each picture that the setting "empty" counts to."""
    every = server.settings.get("empty", 0)
    if every and server.counts["pictures"] % every == 0:
        return []
    if picture.quality < server.settings.get("threshold", 0):
        chosen = list(enumerate(BLURS, len(NAMES)))
    else:
        middle = min(max(int(picture.brightness * STEPS / 256), 0), STEPS - 1)
        places = [(middle + step) % STEPS for step in (0, 1, -1, 2, -2)]
        chosen = [(place, NAMES[place]) for place in places]
    return [Label(place, *names, score) for (place, names), score in zip(chosen, SCORES)]
