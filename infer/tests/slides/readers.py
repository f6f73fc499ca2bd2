"""Opens the files of a slide by readers that other people wrote: readers.py CHECK FOLDER. Prints how much was looked at."""

import csv
import gzip
import json
import math
import os
import sys
import uuid

folder = sys.argv[2]


def at(name):
    return os.path.join(folder, name)


def collection():
    with gzip.open(at("nuclei.geojson.gz"), "rt", encoding="utf-8") as file:
        return file.read()


def table():
    with open(at("nuclei.csv"), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


MEASURED = {
    "Area µm^2": "area_um2",
    "Perimeter µm": "perimeter_um",
    "Major axis µm": "major_axis_um",
    "Minor axis µm": "minor_axis_um",
    "Eccentricity": "eccentricity",
    "Solidity": "solidity",
    "Probability": "mean_probability",
    "Mean red": "mean_red",
    "Mean green": "mean_green",
    "Mean blue": "mean_blue",
    "Hematoxylin OD mean": "hematoxylin_od",
}


def qupath():
    """Every field of every feature as QuPath writes and takes it, and against the table."""
    import geojson
    from shapely.geometry import shape

    read = geojson.loads(collection())
    assert isinstance(read, geojson.FeatureCollection) and read.is_valid, read.errors()
    plain = json.loads(collection())
    assert set(plain) == {"type", "features"}
    ids, rows = set(), table()
    assert len(plain["features"]) == len(rows)
    for feature, row in zip(plain["features"], rows):
        assert set(feature) == {"type", "id", "geometry", "properties"} and feature["type"] == "Feature"
        key = uuid.UUID(feature["id"])
        assert key.version == 5 and str(key) == feature["id"] and key not in ids
        ids.add(key)
        properties = feature["properties"]
        assert set(properties) == {"objectType", "classification", "measurements"} and properties["objectType"] == "detection"
        assert set(properties["classification"]) == {"name", "color"} and properties["classification"]["name"]
        colour = properties["classification"]["color"]
        assert len(colour) == 3 and all(type(c) is int and 0 <= c <= 255 for c in colour)
        measured = properties["measurements"]
        assert set(measured) == set(MEASURED), set(measured) ^ set(MEASURED)
        for name, column in MEASURED.items():
            value, other = measured[name], float(row[column])
            assert type(value) in (int, float) and math.isfinite(value)
            assert abs(value - other) <= 0.0051 + 1e-6 * abs(other), (name, value, other)
        assert 0 <= measured["Eccentricity"] <= 1 and 0 < measured["Solidity"] <= 1 and 0 <= measured["Probability"] <= 1
        assert set(feature["geometry"]) == {"type", "coordinates"} and feature["geometry"]["type"] == "Polygon"
        for i, ring in enumerate(feature["geometry"]["coordinates"]):
            assert len(ring) >= 4 and ring[0] == ring[-1] and all(len(point) == 2 for point in ring)
            twice = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, ring[1:]))
            assert (twice > 0) == (i == 0), "holes turn the other way"
        outline = shape(feature["geometry"])
        assert outline.is_valid and outline.area > 0
        left, top, right, bottom = outline.bounds
        told = [float(row[side]) for side in ("left_px", "top_px", "right_px", "bottom_px")]
        assert max(abs(a - b) for a, b in zip((left, top, right, bottom), told)) <= 0.011, (outline.bounds, told)
        um2 = float(row["area_um2"]) / outline.area
        scale = float(row["centroid_x_um"]) / float(row["centroid_x_px"])
        assert abs(um2 / scale**2 - 1) < 0.02, "the area that the outline has"
        x, y = float(row["centroid_x_px"]), float(row["centroid_y_px"])
        assert math.hypot(outline.centroid.x - x, outline.centroid.y - y) < 0.1 * math.sqrt(outline.area)
    return len(ids)


def levels(name):
    """All levels of a file, by tifffile."""
    import tifffile

    with tifffile.TiffFile(at(name)) as file:
        assert file.is_bigtiff and len(file.series) == 1
        page = file.pages[0]
        unit, (over, under) = page.tags["ResolutionUnit"].value, page.tags["XResolution"].value
        assert unit == 3 and page.is_tiled
        return [level.asarray() for level in file.series[0].levels], 1e4 * under / over


def halved(array):
    """Rounded means of 2 x 2 pixels; an odd last row or column stands for its missing neighbour."""
    import numpy as np

    sides = [(0, size % 2) for size in array.shape[:2]] + [(0, 0)] * (array.ndim - 2)
    even = np.pad(array.astype(np.uint16), sides, mode="edge")
    return ((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2] + 2) // 4).astype(np.uint8)


def tiff():
    """Mask, probability and labels tell the same nuclei; reduced levels are what they say."""
    import numpy as np
    import tifffile

    pixels = 0
    for name in ("mask.tif", "probability.tif"):
        arrays, um_per_pixel = levels(name)
        assert abs(um_per_pixel - 0.5) < 1e-4 and len(arrays) >= 3, (um_per_pixel, len(arrays))
        for fine, coarse in zip(arrays, arrays[1:]):
            assert fine.dtype == np.uint8 and (halved(fine) == coarse).all(), name
        pixels += sum(array.size for array in arrays)
    mask, probability = levels("mask.tif")[0][0], levels("probability.tif")[0][0]
    with tifffile.TiffFile(at("labels.ome.tif")) as file:
        assert file.is_ome
        labels = file.asarray()
        described = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        assert (described["SizeX"], described["SizeY"], described["Type"]) == (mask.shape[1], mask.shape[0], "uint32")
        assert (described["PhysicalSizeX"], described["PhysicalSizeY"]) == (0.5, 0.5)
    assert ((mask == 255) == (labels > 0)).all() and set(np.unique(mask)) == {0, 255}
    rows = table()
    areas = np.bincount(labels.ravel(), minlength=len(rows) + 1)[1:]
    assert areas.tolist() == [int(row["area_model_px"]) for row in rows]
    means = np.bincount(labels.ravel(), weights=probability.ravel() / 255.0)[1:] / areas
    told = np.array([float(row["mean_probability"]) for row in rows])
    # Holes are filled after the mean is taken.
    assert (means <= told + 1e-4).all() and np.median(abs(means - told)) < 1e-4
    return pixels


def openslide():
    """What OpenSlide shows of every level is what tifffile reads."""
    import numpy as np
    import openslide as library

    pixels = 0
    for name in ("mask.tif", "probability.tif", "quality.tif"):
        arrays, _ = levels(name)
        with library.OpenSlide(at(name)) as slide:
            sizes = [(array.shape[1], array.shape[0]) for array in arrays]
            assert list(slide.level_dimensions) == sizes, (slide.level_dimensions, sizes)
            for level, array in enumerate(arrays):
                shown = np.asarray(slide.read_region((0, 0), level, sizes[level]))
                assert (shown[..., 3] == 255).all()
                rgb = array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
                assert (shown[..., :3] == rgb).all(), (name, level)
                pixels += rgb.shape[0] * rgb.shape[1]
    return pixels


def parquet():
    """The columns of the table, by type and value."""
    import pyarrow as arrow
    import pyarrow.parquet

    read, rows = arrow.parquet.read_table(at("nuclei.parquet")), table()
    assert read.num_rows == len(rows) and read.column_names == list(rows[0])
    for name in read.column_names:
        kind = read.schema.field(name).type
        whole = {"id": arrow.int64(), "area_model_px": arrow.int64(), "touches_border": arrow.bool_()}
        assert kind == whole.get(name, arrow.float64() if name.endswith("_px") else arrow.float32()), (name, kind)
        assert not read.schema.field(name).nullable
        for value, row in zip(read[name].to_pylist(), rows):
            assert abs(float(value) - float(row[name])) <= 0.0051 + 1e-6 * abs(float(row[name])), name
    return read.num_rows


def store():
    """Outlines, keys and classes in SQLite are those of the GeoJSON file."""
    import sqlite3
    import zlib

    from shapely import wkb
    from shapely.geometry import shape

    features = {feature["id"]: feature for feature in json.loads(collection())["features"]}
    found = 0
    with sqlite3.connect(f"file:{at('nuclei.db')}?mode=ro", uri=True) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for key, geometry, properties in database.execute("SELECT key, geometry, properties FROM annotations"):
            feature = features[key]
            outline = wkb.loads(zlib.decompress(geometry))
            assert outline.is_valid and outline.equals_exact(shape(feature["geometry"]), 0.0051)
            assert json.loads(properties)["type"] == feature["properties"]["classification"]["name"]
            found += 1
    assert found == len(features)
    return found


print({check.__name__: check for check in (qupath, tiff, openslide, parquet, store)}[sys.argv[1]]())
