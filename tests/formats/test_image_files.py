"""The headers of PNG and JPEG files: sizes, and how a camera was held."""

from __future__ import annotations

import struct

import pytest
from conftest import PROJECT
from image_files import make_exif, make_photo, make_png_photo, make_scene

from serialization.formats.image_files import measure_image, read_orientation
from serialization.tensorflow import np, tf

BAG = (PROJECT / "pretrainedresnet" / "samples" / "bag_0.png").read_bytes()
OF_NO_IMAGE = r"^(it is empty|its header is damaged|its first bytes are of neither)$"


def test_sizes_are_read_from_headers() -> None:
    assert measure_image(BAG) == (28, 28)
    for options in ({}, {"progressive": True}, {"xmp_metadata": "x" * 5000}):
        wide = tf.io.encode_jpeg(np.zeros((30, 50, 3), np.uint8), **options).numpy()
        assert measure_image(wide) == (50, 30)
        for end in range(0, len(wide), 7):
            try:
                assert measure_image(wide[:end]) == (50, 30)
            except ValueError:
                assert end < 6000
    for other in (b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x00" * 50, b"\x89PNG\r\n\x1a\n", bytes(100)):
        with pytest.raises(ValueError, match=OF_NO_IMAGE):
            measure_image(other)


def test_files_without_an_end_of_segments_are_given_up() -> None:
    """Each took half a minute when every byte was looked at."""
    assert read_orientation(BAG[:33] + bytes(32_000_000)) == 1
    for filler in (b"\xff" * 32_000_000, b"\xff\xe0\0\2" * 8_000_000):
        with pytest.raises(ValueError, match=OF_NO_IMAGE):
            measure_image(b"\xff\xd8\xff\xe0\0\2" + filler)
        assert read_orientation(b"\xff\xd8\xff\xe0\0\2" + filler) == 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_read_in_either_order_of_bytes(orientation: int, order: str) -> None:
    photo = make_photo(make_scene(), make_exif(orientation, order))
    assert read_orientation(photo) == orientation
    assert measure_image(photo) == (40, 24), "as the pixels lie"
    assert read_orientation(make_png_photo(make_scene(), orientation)) == orientation
    assert read_orientation(photo[:2] + b"\xff\xff" + photo[2:]) == orientation, "more bytes 0xFF before a marker"


EXIF = make_exif(6)


@pytest.mark.parametrize(
    "segment",
    [
        b"",
        make_exif(0),
        make_exif(9),
        make_exif(6, kind=4),  # not a short number
        EXIF.replace(b"MM", b"XX"),
        EXIF.replace(b"Exif", b"exif"),
        EXIF.replace(struct.pack(">HI", 42, 8), struct.pack(">HI", 42, 1 << 31)),  # its tags lie beyond its end
        EXIF.replace(struct.pack(">I", 8) + b"\0\2", struct.pack(">I", 8) + b"\0\1"),  # one tag is all
    ],
)
def test_a_file_that_does_not_say_how_it_lies_is_upright(segment: bytes) -> None:
    assert read_orientation(make_photo(make_scene(), segment)) == 1
    assert read_orientation(BAG) == read_orientation(b"") == 1


def test_a_damaged_tag_is_no_fault() -> None:
    photo = make_photo(make_scene(), EXIF)
    start = photo.index(b"Exif")
    for at in range(start, start + len(EXIF)):
        for byte in (0, 1, 127, 255):
            assert read_orientation(photo[:at] + bytes([byte]) + photo[at + 1 :]) in range(1, 9)
        assert read_orientation(photo[:at]) in (1, 6)
