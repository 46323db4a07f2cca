#!/usr/bin/env python3
# gst-pirl: writes vision-golden.json, what Pillow and torchvision make of procedural pictures.
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Usage: vision-golden.py [vision-golden.json]; needs numpy, torchvision and Pillow 9.4 to 12.x
# (Pillow 13 orders the two passes of a resize by cost, which moves some pixels by a level).
#
# The pictures are made by picture() below and by the same integer formula in vision-common.h, so
# only digests (MD5 of the packed RGB bytes) and a few pixels, for a look at what went wrong, are
# kept. Files to decode are kept whole, in base64.
import base64
import hashlib
import io
import json
import struct
import sys
import warnings
import zlib

import numpy as np
import PIL
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torchvision.transforms import CenterCrop, Resize
from torchvision.transforms import functional as F

warnings.simplefilter("ignore", DeprecationWarning)


def picture(width, height, seed):
    """A slope, a chequer and noise; uint32 arithmetic."""
    y, x, c = (a.astype(np.uint32) for a in np.indices((height, width, 3)))
    n = (x * np.uint32(73856093)) ^ (y * np.uint32(19349663)) ^ (c * np.uint32(83492791))
    n ^= np.uint32(seed * 2654435761 & 0xFFFFFFFF)
    n ^= n >> 15
    n *= np.uint32(0x2C1B3C6D)
    n ^= n >> 12
    slope = (x * (3 + c) + y * (5 - c) + 40 * c * np.uint32(seed)) & 255
    slope = np.where(slope > 127, 255 - slope, slope) * 2
    chequer = (((x >> 3) ^ (y >> 3)) & 1) * 48
    return np.minimum((slope * 3 >> 2) + chequer + (n & 31), 255).astype(np.uint8)


def result(image):
    a = np.asarray(image.convert("RGB"))
    h, w, _ = a.shape
    spots = [(0, 0), (w // 3, h // 2), (w - 1, h - 1)]
    return {"width": w, "height": h, "md5": hashlib.md5(a.tobytes()).hexdigest(),
            "pixels": [[x, y] + a[y, x].tolist() for x, y in spots]}


def make(size_seed):
    return Image.fromarray(picture(*size_seed))


def single(value):
    return float(np.float32(value))


def resizes():
    cases = []
    table = [  # picture, size, box
        ((100, 80, 1), (50, 40), None), ((100, 80, 1), (33, 57), None),
        ((100, 80, 1), (224, 224), None), ((101, 67, 2), (101, 30), None),
        ((101, 67, 2), (30, 67), None), ((101, 67, 2), (101, 67), None),
        ((64, 200, 3), (200, 64), None), ((64, 200, 3), (7, 5), None),
        ((1, 1, 4), (9, 4), None), ((3, 50, 5), (64, 64), None), ((500, 3, 6), (21, 33), None),
        ((257, 255, 7), (1, 1), None), ((640, 480, 8), (64, 64), None),
        ((120, 90, 9), (60, 60), (10, 20, 70, 80)), ((120, 90, 9), (85, 31), (3, 0, 120, 17)),
        ((120, 90, 9), (40, 40), (0.25, 0.5, 100.75, 89.125)),
        ((120, 90, 9), (120, 90), (0.1, 0.2, 119.3, 89.9)),
        ((120, 90, 9), (200, 130), (60.3, 40.7, 61.9, 42.2)),
        ((120, 90, 9), (120, 45), (0, 10, 120, 80)), ((120, 90, 9), (45, 90), (10, 0, 90, 90)),
    ]
    for source, size, box in table:
        box = box or (0, 0, source[0], source[1])
        image = make(source).resize(size, Image.BILINEAR, box)
        cases.append({"picture": source, "box": box, **result(image)})
    return cases


def centre_crops():
    cases = []
    for source, resize, crop in [
            ((100, 80, 1), 64, 56), ((80, 100, 1), 64, 56), ((91, 91, 2), 91, 64),
            ((375, 500, 3), 256, 224), ((333, 250, 4), 77, 64), ((97, 61, 5), 61, 60),
            ((60, 97, 6), 33, 32), ((60, 50, 7), 30, 41), ((50, 60, 7), 30, 33),
            ((500, 40, 8), 20, 64)]:
        image = CenterCrop(crop)(Resize(resize)(make(source)))
        cases.append({"picture": source, "resize": resize, "crop": crop, **result(image)})
    return cases


def crops():
    """RandomResizedCrop's pixel work: crop, then resize to a square."""
    cases = []
    for source, (x, y, w, h), size in [
            ((150, 120, 1), (20, 10, 100, 90), 64), ((150, 120, 1), (0, 0, 150, 120), 96),
            ((150, 120, 1), (140, 100, 10, 20), 64), ((40, 30, 2), (5, 5, 24, 20), 73),
            ((300, 310, 3), (13, 17, 211, 190), 72)]:
        image = F.resized_crop(make(source), y, x, h, w, [size, size])
        cases.append({"picture": source, "crop": [x, y, w, h], **result(image)})
    return cases


def photometric(image, bits, sharpness, threshold):
    image = ImageOps.posterize(image, bits)
    image = ImageEnhance.Sharpness(image).enhance(sharpness)
    return ImageOps.autocontrast(ImageOps.solarize(image, threshold))


OPERATIONS = {
    "brightness": F.adjust_brightness, "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation, "hue": F.adjust_hue,
    "blur": lambda image, radius: image.filter(ImageFilter.GaussianBlur(radius)),
}
JITTER = ["brightness", "contrast", "saturation", "hue"]


def colours():
    sources = [(61, 47, 1), (64, 64, 2), (2, 3, 3), (1, 1, 4)]
    cases = []

    def add(source, image, **draws):
        cases.append({"picture": source, "draws": draws, **result(image)})

    for source in sources:
        image = make(source)
        for name, factors in [("brightness", (0, .2, .6, 1.01, 1.4, 3)),
                              ("contrast", (0, .3, .6, 1.4, 2.5)),
                              ("saturation", (0, .4, .9, 1.4, 3)),
                              ("hue", (-.5, -.2, -.003, .003, .1, .5)),
                              ("blur", (.1, .5, .8, 1.3, 2, 3.7))]:
            for factor in map(single, factors):
                add(source, OPERATIONS[name](image, factor), **{name: factor})
        for bits, sharpness, threshold in [(4, .1, 256), (5, 1.9, 128), (8, .7, 0), (6, 1, 200)]:
            sharpness = single(sharpness)
            add(source, photometric(image, bits, sharpness, threshold), photometric=1,
                posterize=bits, sharpness=sharpness, solarize=threshold)
        add(source, F.to_grayscale(image, 3), grayscale=1)
        add(source, F.hflip(image), flip=1)
        factors = dict(brightness=single(1.3), contrast=single(.7), saturation=single(1.2),
                       hue=single(-.13))
        for order in [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)]:
            out = image
            for op in order:
                out = OPERATIONS[JITTER[op]](out, factors[JITTER[op]])
            out = F.to_grayscale(photometric(out, 5, single(1.5), 180), 3)
            out = F.hflip(OPERATIONS["blur"](out, 1.25))
            add(source, out, order=order, **factors, photometric=1, posterize=5,
                sharpness=single(1.5), solarize=180, grayscale=1, blur=1.25, flip=1)
    return cases


def every_colour():
    """MD5 over all 2^24 bytes triples in order, as RGB to HSV and as HSV to RGB."""
    a = np.empty((256, 256, 256, 3), np.uint8)
    a[..., 0], a[..., 1], a[..., 2] = np.ogrid[:256, :256, :256]
    a = a.reshape(4096, 4096, 3)

    def digest(image):
        return hashlib.md5(np.asarray(image).tobytes()).hexdigest()

    return {"to_hsv": digest(Image.fromarray(a).convert("HSV")),
            "to_rgb": digest(Image.frombytes("HSV", (4096, 4096), a.tobytes()).convert("RGB"))}


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation, order):
    tiff = struct.pack(order + "HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return b"Exif\0\0" + (b"II" if order == "<" else b"MM") + tiff


def png(width, height, depth, kind, rows, extra=b""):
    """A PNG that Pillow would not write."""
    def chunk(name, data):
        return (struct.pack(">I", len(data)) + name + data
                + struct.pack(">I", zlib.crc32(name + data)))

    return (b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)) + extra
            + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def png16(width, height, channels):
    a = picture(width, height, 5).astype(np.uint16)[..., :1].repeat(channels, 2)
    a = (a * 257 ^ np.arange(width, dtype=np.uint16)[None, :, None] * 37).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in a)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    return png(width, height, 16, kind, rows), (a >> 8).astype(np.uint8)


def adam7(a):
    """Interlaced rows of an RGB picture."""
    rows = b""
    for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                           (1, 0, 2, 2), (0, 1, 1, 2)]:
        part = a[y0::dy, x0::dx]
        if part.size:
            rows += b"".join(b"\0" + row.tobytes() for row in part)
    return png_of(a, rows)


def png_of(a, rows):
    out = bytearray(png(a.shape[1], a.shape[0], 8, 2, rows))
    out[28] = 1  # interlace method, then the header's checksum
    out[29:33] = struct.pack(">I", zlib.crc32(bytes(out[12:29])))
    return bytes(out)


def adobe(data, transform):
    """Changes what the Adobe marker says about the colour space."""
    at = data.index(b"Adobe") + 11
    return data[:at] + bytes([transform]) + data[at + 1:]


def files():
    cases = []
    image = make((61, 47, 1))
    cmyk = image.convert("CMYK")
    ink = np.asarray(cmyk).copy()
    ink[..., 3] = picture(61, 47, 9)[..., 0] // 2
    cmyk = Image.fromarray(ink, "CMYK")

    def add(name, data, expected=None, orientation=1):
        if expected is None:
            expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        cases.append({"name": name, "data": base64.b64encode(data).decode(),
                      "orientation": orientation, **result(expected)})

    for sampling in (0, 1, 2):
        add(f"jpeg-sampling-{sampling}", saved(image, "JPEG", quality=80, subsampling=sampling))
    add("jpeg-restart", saved(image, "JPEG", quality=60, restart_marker_blocks=2))
    add("jpeg-progressive", saved(image, "JPEG", quality=70, progressive=True))
    add("jpeg-quality-5", saved(image, "JPEG", quality=5))
    add("jpeg-rgb", saved(image, "JPEG", quality=85, keep_rgb=True))
    add("jpeg-grey", saved(image.convert("L"), "JPEG", quality=75))
    add("jpeg-grey-progressive", saved(image.convert("L"), "JPEG", progressive=True))
    add("jpeg-cmyk", saved(cmyk, "JPEG", quality=85))
    add("jpeg-ycck", adobe(saved(cmyk, "JPEG", quality=85), 2))
    add("jpeg-one-pixel", saved(make((1, 1, 3)), "JPEG"))
    add("jpeg-large", saved(make((200, 150, 6)), "JPEG", quality=50))
    for orientation in range(1, 9):
        for order in "<>":
            name = f"jpeg-exif-{'little' if order == '<' else 'big'}-{orientation}"
            add(name, saved(make((19, 11, 2)), "JPEG", exif=exif(orientation, order)), None,
                orientation)
    for name, data in [
            ("rgb", image), ("rgba", image.copy()), ("grey", image.convert("L")),
            ("grey-alpha", image.convert("LA")), ("palette", image.quantize(17)),
            ("bits", image.convert("1"))]:
        if name == "rgba":
            data.putalpha(image.convert("L"))
        add("png-" + name, saved(data, "PNG"))
    for bits in (1, 2, 4):
        add(f"png-palette-{bits}", saved(image.quantize(1 << bits), "PNG", bits=bits))
        grey = np.asarray(image.convert("L")) >> (8 - bits)
        packed = np.zeros((47, -(-61 * bits // 8)), np.uint8)
        for x in range(61):
            packed[:, x * bits // 8] |= (grey[:, x] << (8 - bits - x * bits % 8)).astype(np.uint8)
        rows = b"".join(b"\0" + row.tobytes() for row in packed)
        add(f"png-grey-{bits}", png(61, 47, bits, 0, rows),
            Image.fromarray((grey * (255 // ((1 << bits) - 1))).astype(np.uint8)))
    transparent = image.quantize(16)
    add("png-palette-alpha", saved(transparent, "PNG", transparency=3))
    for channels in (2, 3, 4):
        add(f"png-16-{channels}", png16(31, 22, channels)[0])
    data, high = png16(31, 22, 1)  # Pillow clips 16-bit greys at 255; we keep their high byte
    add("png-16-1", data, Image.fromarray(high[..., 0]))
    add("png-interlaced", adam7(picture(37, 29, 4)))
    add("png-exif-6", saved(make((19, 11, 2)), "PNG", exif=exif(6, "<")[6:]), None, 6)
    add("png-large", saved(make((120, 90, 6)), "PNG"))
    return cases


def refused():
    """Files that must be refused, with a word that the message must hold."""
    good = saved(make((61, 47, 1)), "JPEG")
    at = good.index(b"\xff\xc0") + 5
    huge = good[:at] + b"\xff\xdc\xff\xdc" + good[at + 4:]
    return [{"name": name, "data": base64.b64encode(data).decode(), "word": word}
            for name, data, word in [
                ("empty", b"", "too few"), ("gif", b"GIF89a" + bytes(20), "neither JPEG"),
                ("jpeg-only-start", good[:2], "no image"), ("jpeg-no-scan", good[:at - 5], "JPEG"),
                ("jpeg-bomb", huge, "limit"),
                ("png-bomb", png(2000000000, 2000000000, 8, 2, b""), "limit"),
                ("png-no-size", png(0, 5, 8, 2, b""), "PNG"),
                ("png-no-data", png(8, 8, 8, 2, b"")[:45], "PNG")]]


def main():
    version = tuple(map(int, PIL.__version__.split(".")[:2]))
    if version < (9, 4) or version >= (13, 0):
        sys.exit(f"Pillow {PIL.__version__}: 9.4 to 12.x is needed, see the top of this file")
    path = sys.argv[1] if len(sys.argv) > 1 else "vision-golden.json"
    golden = {"made_by": f"vision-golden.py, Pillow {PIL.__version__}", "resize": resizes(),
              "centre": centre_crops(), "crop": crops(), "colour": colours(),
              "every_colour": every_colour(), "decode": files(), "refused": refused()}
    with open(path, "w") as out:
        for key, value in golden.items():
            out.write("{\n" if key == "made_by" else ",\n")
            if isinstance(value, list):
                rows = ",\n  ".join(json.dumps(v, separators=(",", ":")) for v in value)
                out.write(f' "{key}": [\n  {rows}\n ]')
            else:
                out.write(f' "{key}": {json.dumps(value)}')
        out.write("\n}\n")


if __name__ == "__main__":
    main()
