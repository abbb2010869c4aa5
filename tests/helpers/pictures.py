"""Folders of pictures, and idx files, as the experiments read them."""

import gzip

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 220), "green": (30, 200, 40), "red": (220, 40, 30)}


def write_pictures(folder, classes=COLOURS, training=6, test=3, side=40):
    """A folder of classes, whose pictures have the colour of their class, and noise."""
    rng = np.random.default_rng(0)
    for split, count in (("train", training), ("val", test)):
        for name, colour in classes.items():
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                noise = rng.integers(-30, 30, (side, side + number, 3))
                Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(place / f"{number}.jpg")
    return folder


def write_idx(path, array):
    """Bytes in the idx format, gzipped if the name ends so."""
    content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
