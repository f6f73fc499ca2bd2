"""A slide through one of our models in Python, as it is usually done well: OpenSlide in threads, ONNX Runtime, a pyramid TIFF.

usage: segment.py SLIDE MODEL.onnx OUT.tif [--tile 1024] [--halo 96 | --overlap 64] [--threads 2] [--readers 2] [--instances]

With --halo, tiles keep their cores only; with --overlap, they are blended with linear weights, the usual practice. The network takes
u8 pixels and gives u8 probabilities, so nothing is computed twice. --instances adds what `infer` makes by default in the simplest
form: thresholded components of at least 64 px, counted, with their boxes and areas. Prints one line of JSON.
"""

import argparse
import json
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import openslide
import tifffile


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("slide", "model", "out"):
        parser.add_argument(name)
    for name, default in (("tile", 1024), ("halo", 96), ("overlap", 0), ("threads", 2), ("readers", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--instances", action="store_true")
    return parser.parse_args()


def starts(size: int, tile: int, step: int) -> list[int]:
    """First pixels of the windows along one axis; the last ends at the border."""
    last = max(size - tile, 0)
    return sorted({min(at, last) for at in range(0, last + step, step)})


class Canvas:
    """Where answers are put together."""

    def __init__(self, size: tuple[int, int], args: argparse.Namespace):
        self.width, self.height = size
        self.args = args
        if args.overlap:
            ramp = np.minimum(np.arange(args.tile) + 1, np.arange(args.tile)[::-1] + 1)
            line = np.minimum(ramp / args.overlap, 1).astype(np.float32)
            self.weight = np.outer(line, line)
            self.sum = np.zeros((self.height, self.width), np.float32)
            self.weights = np.zeros((self.height, self.width), np.float32)
        else:
            self.values = np.zeros((self.height, self.width), np.uint8)

    def put(self, x: int, y: int, answer: np.ndarray) -> None:
        tile, halo = self.args.tile, self.args.halo
        if self.args.overlap:
            place = np.s_[y : y + tile, x : x + tile]
            shape = self.sum[place].shape
            self.sum[place] += (answer * self.weight)[: shape[0], : shape[1]]
            self.weights[place] += self.weight[: shape[0], : shape[1]]
            return
        left, top = (halo if x else 0), (halo if y else 0)
        right = tile if x + tile >= self.width else tile - halo
        bottom = tile if y + tile >= self.height else tile - halo
        place = self.values[y + top : y + bottom, x + left : x + right]
        place[:] = answer[top : top + place.shape[0], left : left + place.shape[1]]

    def finish(self) -> np.ndarray:
        return np.rint(self.sum / self.weights).astype(np.uint8) if self.args.overlap else self.values


def write_pyramid(path: str, level: np.ndarray) -> None:
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        first = True
        while True:
            writer.write(level, tile=(256, 256), compression="zlib", compressionargs={"level": 3}, subfiletype=0 if first else 1, metadata=None)
            if max(level.shape) <= 512:
                return
            first = False
            level = level[: level.shape[0] // 2 * 2 : 2, : level.shape[1] // 2 * 2 : 2]


def instances(values: np.ndarray) -> int:
    from scipy import ndimage

    labels, count = ndimage.label(values >= 128, np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    boxes = ndimage.find_objects(labels)
    return sum(1 for label, box in enumerate(boxes, 1) if box is not None and areas[label] >= 64)


def main() -> None:
    args = arguments()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
    began = time.perf_counter()
    size = openslide.OpenSlide(args.slide).dimensions
    step = args.tile - (args.overlap or 2 * args.halo)
    windows = [(x, y) for y in starts(size[1], args.tile, step) for x in starts(size[0], args.tile, step)]
    local, busy = threading.local(), {"network": 0.0}

    def read(window):
        if not hasattr(local, "slide"):
            local.slide = openslide.OpenSlide(args.slide)
        region = local.slide.read_region(window, 0, (args.tile, args.tile))
        return window, np.ascontiguousarray(np.asarray(region)[..., :3])[None]

    canvas, waiting = Canvas(size, args), iter(windows)
    with ThreadPoolExecutor(args.readers) as readers, ThreadPoolExecutor(1) as putter:
        ahead = deque(readers.submit(read, window) for window in [w for _, w in zip(range(args.readers + 2), waiting)])
        puts = deque()
        while ahead:
            (x, y), pixels = ahead.popleft().result()
            for window in [w for _, w in zip(range(1), waiting)]:
                ahead.append(readers.submit(read, window))
            at = time.perf_counter()
            answer = session.run(["probability_u8"], {"image": pixels})[0][0]
            busy["network"] += time.perf_counter() - at
            puts.append(putter.submit(canvas.put, x, y, answer))
            if len(puts) > 2:
                puts.popleft().result()
        for put in puts:
            put.result()
    values = canvas.finish()
    write_pyramid(args.out, values)
    nuclei = instances(values) if args.instances else None
    seconds = time.perf_counter() - began
    pixels = size[0] * size[1] / 1e6
    processed = len(windows) * args.tile**2 / 1e6
    facts = {"seconds": seconds, "megapixels_per_second": pixels / seconds, "processed_megapixels": processed, "network_seconds": busy["network"]}
    print(json.dumps({name: round(value, 3) for name, value in facts.items()} | {"nuclei": nuclei}))


if __name__ == "__main__":
    main()
