"""Writes the pictures of this folder: `python make.py` with Pillow, tifffile and imagecodecs."""

import io
import struct

import numpy
import tifffile
from PIL import Image


def picture(width, height):
    """Blobs and noise, so that every block of a JPEG holds some bytes."""
    y, x = numpy.mgrid[:height, :width].astype(float)
    noise = numpy.random.default_rng(7).normal(0, 6, (height, width, 3))
    waves = numpy.stack([numpy.sin(x / 5) + numpy.cos(y / 7), numpy.sin((x + y) / 6), numpy.cos((x - y) / 9)], axis=2)
    return numpy.clip(128 + 50 * waves + noise, 0, 255).astype(numpy.uint8)


small, large = picture(96, 80), picture(256, 160)
Image.fromarray(small).save("baseline.jpg", quality=85)
Image.fromarray(small).save("progressive.jpg", quality=85, progressive=True)
Image.fromarray(small).save("restarts.jpg", quality=85, restart_marker_rows=1)
Image.fromarray(small[:, :, 0]).save("grey.jpg", quality=85)
# 640 MCUs, a restart interval that needs both of its bytes.
Image.fromarray(large).save("interval_300.jpg", quality=60, subsampling=0, restart_marker_blocks=300)

# A camera's file: an EXIF segment with a thumbnail, which is a JPEG with an end mark of its own, and bytes behind the picture.
thumbnail = io.BytesIO()
Image.fromarray(small[::4, ::4]).save(thumbnail, "JPEG")
thumbnail = thumbnail.getvalue()
first = struct.pack("<H", 0) + struct.pack("<I", 14)
second = struct.pack("<H", 2) + struct.pack("<HHII", 0x201, 4, 1, 44) + struct.pack("<HHII", 0x202, 4, 1, len(thumbnail)) + struct.pack("<I", 0)
exif = b"Exif\0\0" + b"II*\0" + struct.pack("<I", 8) + first + second
exif += b"\0" * (44 + 6 - len(exif)) + thumbnail
main = io.BytesIO()
Image.fromarray(small).save(main, "JPEG", quality=85, exif=exif)
open("camera.jpg", "wb").write(main.getvalue() + b"\0" * 64 + thumbnail + b"behind the picture")

# The directory of these files stands before their pixels, so that a cut file still has a whole header.
tifffile.imwrite("strips.tif", small, photometric="rgb", compression="jpeg", compressionargs={"outcolorspace": "rgb"}, rowsperstrip=16)
tifffile.imwrite("tiles.tif", small, photometric="rgb", compression="jpeg", compressionargs={"outcolorspace": "rgb"}, tile=(32, 32))
