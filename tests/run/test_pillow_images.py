"""Pillow makes the pixels that TensorFlow makes. It is installed where TensorFlow need not be, and runs there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, environment
from image_files import STORED, make_exif, make_photo, make_png_photo, make_scene

from serialization.graph.signature import Tensor
from serialization.run.images import ImageDecoder, describe_image_input
from serialization.tensorflow import np, tf

CODE = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
from serialization.graph.signature import Tensor
from serialization.run.images import describe_image_input
from serialization.run.pillow_images import PillowDecoder
for number, (name, dtype, shape) in enumerate(json.loads(sys.argv[2])):
    decoder = PillowDecoder(describe_image_input(Tensor("x", "x", dtype, tuple(shape))))
    try:
        np.save(f"{number}.npy", decoder.arrange(decoder.decode(Path(name).read_bytes())))
    except ValueError as error:
        print(number, error)
"""
ANY, SMALL, LARGE, FIRST = [None, None, None, 3], [None, 7, 9, 3], [None, 50, 41, 3], [None, 3, 8, 8]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise in which a smooth surface shows, in files of several kinds; and a file that is cut off."""
    folder = tmp_path_factory.mktemp("pictures")
    y, x = np.mgrid[0:32, 0:24]
    surface = np.stack([8 * y, 10 * x, 4 * (x + y)], -1) % 256
    pixels = np.clip(surface + np.random.default_rng(0).integers(0, 9, surface.shape), 0, 255).astype(np.uint8)
    grey, alpha = pixels[:, :, :1], np.concatenate([pixels, pixels[:, :, :1]], -1)
    deep = pixels.astype(np.uint16)[:, :, :1] * 256 + 77
    for name, array in {"colour": pixels, "grey": grey, "alpha": alpha, "deep": deep}.items():
        (folder / f"{name}.png").write_bytes(tf.io.encode_png(array).numpy())
    for name, array in {"colour": pixels, "grey": grey}.items():
        (folder / f"{name}.jpg").write_bytes(tf.io.encode_jpeg(array, quality=95).numpy())
    (folder / "cut.png").write_bytes((folder / "colour.png").read_bytes()[:200])
    return folder


@pytest.mark.parametrize(
    ("names", "shape", "dtype", "most"),
    [
        (("colour.png", "grey.png", "alpha.png", "deep.png"), ANY, "uint8", 0),
        (("colour.png", "grey.png", "alpha.png"), SMALL, "float32", 1e-3),
        (("colour.png",), LARGE, "float32", 1e-3),
        (("colour.png",), SMALL, "uint8", 1),
        (("colour.png",), FIRST, "float32", 1e-3),
        (("alpha.png",), [None, None, None, 4], "uint8", 0),
        (("grey.png", "deep.png"), [None, None, None, 1], "uint8", 0),
        (("colour.png",), [None, None, None, 1], "uint8", 2),  # the weights of the colours are rounded
        (("colour.jpg", "grey.jpg"), [None, None, None, 4], "uint8", 8),  # which have no transparency
        (("colour.jpg", "grey.jpg"), ANY, "uint8", 8),  # TensorFlow's decoder is a faster and less exact one
    ],
)
def test_pixels_are_those_of_tensorflow(
    pictures: Path, tmp_path: Path, names: tuple[str, ...], shape: list[Any], dtype: str, most: float
) -> None:
    assert decode(tmp_path, [(str(pictures / name), dtype, shape) for name in names]) == ""
    decoder = ImageDecoder(describe_image_input(Tensor("x", "x", dtype, tuple(shape))))
    for number, name in enumerate(names):
        wanted = decoder.arrange(decoder.decode((pictures / name).read_bytes()))
        found = np.load(tmp_path / f"{number}.npy")
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_allclose(found.astype(float), wanted.astype(float), rtol=0, atol=most)


def test_photos_are_turned_upright_as_by_tensorflow(tmp_path: Path) -> None:
    scene = make_scene()
    for orientation in STORED:
        stored = STORED[orientation](scene)
        (tmp_path / f"{orientation}.png").write_bytes(make_png_photo(stored, orientation))
        (tmp_path / f"{orientation}.jpg").write_bytes(make_photo(stored, make_exif(orientation)))
    files = [tmp_path / f"{orientation}.{kind}" for orientation in STORED for kind in ("png", "jpg")]
    for shape in (ANY, SMALL):
        assert decode(tmp_path, [(str(file), "float32", shape) for file in files]) == ""
        decoder = ImageDecoder(describe_image_input(Tensor("x", "x", "float32", tuple(shape))))
        for number, file in enumerate(files):
            most = 8 if file.suffix == ".jpg" else 1e-3
            wanted, found = decoder.decode(file.read_bytes()), np.load(tmp_path / f"{number}.npy")
            np.testing.assert_allclose(found, wanted, rtol=0, atol=most, err_msg=file.name)


def test_what_is_no_picture_is_refused(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no picture")
    said = decode(tmp_path, [(str(pictures / "cut.png"), "uint8", ANY), (str(tmp_path / "text"), "uint8", ANY)])
    assert said == "0 Pillow cannot decode it\n1 Pillow cannot decode it\n"


def decode(folder: Path, cases: list[tuple[str, str, list[Any]]]) -> str:
    """Have Pillow write the arrays of some files into a folder; returns what was refused."""
    make = ["make", "--silent", f"PYTHON={sys.executable}", ".venv-serve/installed"]
    subprocess.run(make, cwd=PROJECT, check=True)
    python = str(PROJECT / ".venv-serve" / "bin" / "python")
    command = [python, "-c", CODE, str(PROJECT), json.dumps(cases)]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
