"""Image files as cameras write them: the pixels as the camera was held, and a tag that says how."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from serialization.tensorflow import np, tf


def make_tiff(orientation: int, order: str = ">", kind: int = 3) -> bytes:
    """A tag for the camera's maker, and one for the orientation (Exif 2.3, section 4.6)."""
    tags = struct.pack(f"{order}HHI4s", 0x010F, 2, 4, b"abc\0") + struct.pack(
        f"{order}HHIHH", 0x0112, kind, 1, orientation, 0
    )
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return start + struct.pack(f"{order}H", 2) + tags + bytes(4)


def make_exif(orientation: int, order: str = ">", kind: int = 3) -> bytes:
    """A segment APP1 with these tags."""
    content = b"Exif\0\0" + make_tiff(orientation, order, kind)
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def make_photo(pixels: Any, segment: bytes) -> bytes:
    """A JPEG file of the pixels, [height, width, 3], with a segment behind its first one."""
    data: bytes = tf.io.encode_jpeg(pixels, quality=100, chroma_downsampling=False).numpy()
    end = 4 + int.from_bytes(data[4:6], "big")
    return data[:end] + segment + data[end:]


def make_png_photo(pixels: Any, orientation: int) -> bytes:
    """A PNG file of the pixels, with a chunk eXIf behind its first one."""
    data: bytes = tf.io.encode_png(pixels).numpy()
    end = 8 + 25
    named = b"eXIf" + make_tiff(orientation)
    return data[:end] + struct.pack(">I", len(named) - 4) + named + struct.pack(">I", zlib.crc32(named)) + data[end:]


def make_scene() -> Any:
    """Pixels that no turn and no mirror leaves as they are: [24, 40, 3], a colour in each corner."""
    pixels = np.full((24, 40, 3), 128, np.uint8)
    pixels[:8, :16], pixels[:8, 24:] = (255, 0, 0), (0, 255, 0)
    pixels[16:, :16], pixels[16:, 24:] = (0, 0, 255), (255, 255, 255)
    return pixels


# How a camera has stored an upright scene, by the orientation that it writes (Exif 2.3, section 4.6.4 A): the sides at
# which the first row and the first column of the pixels are to be seen.
STORED = {
    1: lambda p: p,  # top, left
    2: lambda p: p[:, ::-1],  # top, right
    3: lambda p: p[::-1, ::-1],  # bottom, right
    4: lambda p: p[::-1],  # bottom, left
    5: lambda p: np.swapaxes(p, 0, 1),  # left, top
    6: lambda p: np.rot90(p),  # right, top
    7: lambda p: np.swapaxes(p[::-1, ::-1], 0, 1),  # right, bottom
    8: lambda p: np.rot90(p, -1),  # left, bottom
}
