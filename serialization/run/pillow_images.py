"""Decodes and resizes image files with Pillow, for runtimes without TensorFlow."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from serialization.run.images import ImageInput, PixelDecoder, find_turn
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class PillowDecoder(PixelDecoder):
    """Decodes by Pillow, which is imported with the first image: ModuleNotFoundError if it is not installed.

    Its filter for resizing is TensorFlow's; the pixels of a JPEG file may differ by a few of 255, as decoders do.
    """

    def __init__(self, image_input: ImageInput) -> None:
        super().__init__(image_input)
        self._mode = _MODES[image_input.channels]
        self._height, self._width = image_input.height, image_input.width

    def decode(self, data: bytes) -> NDArray[Any]:
        from PIL import Image

        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as opened:
                if opened.mode.startswith("I"):  # 16 bits, of which TensorFlow takes the upper ones too
                    opened = Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8))
                image = opened.convert(self._mode)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError("Pillow cannot decode it") from error
        axes, (down, right) = find_turn(data)
        stored = np.asarray(image, np.float32).reshape(image.height, image.width, -1)
        pixels: NDArray[Any] = stored.transpose(axes)[::down, ::right]
        height, width = self._height or pixels.shape[0], self._width or pixels.shape[1]
        if (height, width) == pixels.shape[:2]:
            return pixels
        # As floats, a channel at a time: of bytes, Pillow rounds between the two directions.
        channels = [Image.fromarray(np.ascontiguousarray(pixels[:, :, i])) for i in range(pixels.shape[2])]
        return np.stack([channel.resize((width, height), Image.Resampling.BILINEAR) for channel in channels], axis=-1)
