"""Cuts the images of a data set to their middle and names the test images: what the table of methods was measured on.

usage: cut.py DATA MODALITY SIDE TESTS POOL OUT

DATA has images/ID.png, labels/ID.png and index.csv (id, modality). Images of MODALITY are ordered by the SHA-256 of `dev:` and
their id: the first TESTS are test images, the next POOL are dealt into folds by `train folds`. Sides longer than SIDE are cut.
"""
import csv, hashlib, os, sys

import numpy
from PIL import Image

def middle(path, side):
    image = Image.open(path)
    width, height = image.size
    w, h = min(width, side), min(height, side)
    left, top = (width - w) // 2, (height - h) // 2
    return image.crop((left, top, left + w, top + h))

def main(data, modality, side, tests, pool, out):
    side, tests, pool = int(side), int(tests), int(pool)
    rows = [row for row in csv.DictReader(open(f"{data}/index.csv")) if row.get("modality", modality) == modality]
    rows.sort(key=lambda row: hashlib.sha256(("dev:" + row["id"]).encode()).hexdigest())
    os.makedirs(f"{out}/images"); os.makedirs(f"{out}/labels")
    index = []
    for n, row in enumerate(rows[:tests + pool]):
        name = row["id"]
        label = numpy.array(middle(f"{data}/labels/{name}.png", side)).astype(numpy.uint16)
        _, numbered = numpy.unique(label, return_inverse=True)
        numbered = numbered.reshape(label.shape) + (0 if (label == 0).any() else 1)
        middle(f"{data}/images/{name}.png", side).save(f"{out}/images/{name}.png")
        Image.fromarray(numbered.astype(numpy.uint16)).save(f"{out}/labels/{name}.png")
        index.append([name, "test" if n < tests else "", modality])
    with open(f"{out}/index.csv", "w", newline="") as file:
        csv.writer(file).writerows([["id", "split", "modality"], *index])

main(*sys.argv[1:])
