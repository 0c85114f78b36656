"""Takes images as people send them: a PNG or JPEG file as the body, or files in a form (multipart/form-data).

An image becomes one row of pixels, as on the page, or the file's bytes if the model decodes images itself. In JSON an
image may stand in place of a row of pixels: `{"x": [{"b64": "..."}]}`, or a data: URL.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from werkzeug.exceptions import HTTPException
from werkzeug.formparser import MultiPartParser

from serialization.console import format_count
from serialization.errors import UserError
from serialization.formats.image_files import count_scans, measure_image
from serialization.formats.numpy_dtypes import get_limits
from serialization.graph.signature import Signature, Tensor
from serialization.run.images import ImageDecoder, PixelDecoder, describe_image_input
from serialization.run.json_values import decode_base64
from serialization.serving.requests import INPUT, RequestError, require_row_count
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTENT_TYPES = ("image/png", "image/jpeg", "image/jpg")
FORM = "multipart/form-data"
RANGE = "range"  # the name of the parameter, in the URL or in a form, that says what black and white are: 0,1
_BLACK, _WHITE = 0.0, 255.0  # without that parameter
_MOST_PIXELS = 50_000_000  # of an image, which take 800 MB while it is resized
_MOST_IN_ALL = 500_000_000  # pixels of the images of a request, which take 5 seconds
_MOST_SCANS = 200  # of a progressive JPEG file; encoders write about ten
_LARGE = 4_000_000  # pixels; one image of more is decoded at a time
_MORE_PARTS = 10  # of a form, beside the images
_LONGEST_HEAD = 8192  # bytes before the content of a part of a form; the parser takes seconds for megabytes


def list_content_types(signature: Signature) -> Sequence[str]:
    """The types of bodies with images that a model takes; none if it takes no images."""
    return (*CONTENT_TYPES[:2], FORM) if _takes_files(signature) or _takes_pixels(signature) else ()


def _takes_files(signature: Signature) -> bool:
    tensor = signature.inputs[0]
    return len(signature.inputs) == 1 and tensor.dtype == "string" and tensor.shape in (None, (None,), (1,))


def _takes_pixels(signature: Signature) -> bool:
    try:
        describe_image_input(signature.inputs[0])
    except UserError:
        return False
    return len(signature.inputs) == 1


class ImageFormat:
    """Decodes images for a model that has one input, for images. Raises RequestError for a body that does not fit."""

    def __init__(self, signature: Signature, max_rows: int, decoder: type[PixelDecoder] = ImageDecoder) -> None:
        self._tensor = signature.inputs[0]
        self._max_rows = max_rows
        self._large = threading.Lock()
        self._decoder: PixelDecoder | None = None
        self._takes_files = _takes_files(signature)
        if _takes_pixels(signature):
            self._decoder = decoder(describe_image_input(self._tensor))

    @property
    def takes_pixels(self) -> bool:
        """Whether the model takes the pixels of images."""
        return self._decoder is not None

    def decode_file(self, body: bytes, query: str) -> dict[str, NDArray[Any]]:
        """The row of a body that is an image."""
        return {self._tensor.key: self._make_rows([body], parse_qs(query).get(RANGE, []))}

    def decode_form(self, body: bytes, boundary: str, query: str) -> dict[str, NDArray[Any]]:
        """The rows of a form: one for each file in it."""
        self._require_images()
        mark = boundary.encode("latin-1", "replace")
        parser = MultiPartParser(
            lambda *_, **__: io.BytesIO(),  # the default is a temporary file
            max_form_memory_size=None,
            max_form_parts=self._max_rows + _MORE_PARTS,
        )
        try:
            if not mark or b"--" + mark + b"--" not in body:
                raise ValueError("it has no end")
            _require_short_heads(body, b"--" + mark, self._max_rows + _MORE_PARTS)
            form, files = parser.parse(io.BytesIO(body), mark, len(body))
        except (ValueError, HTTPException):
            raise RequestError(
                400, "the body is not a whole multipart/form-data form: a boundary or the end is missing"
            ) from None
        images = [file.read() for _, file in files.items(multi=True)]
        if not images:
            raise RequestError(400, "the form has no file; send one with curl -F image=@FILE")
        return {self._tensor.key: self._make_rows(images, [*form.getlist(RANGE), *parse_qs(query).get(RANGE, [])])}

    def read_json_rows(self, value: Any) -> NDArray[Any] | None:
        """The rows of a JSON value that holds images in base64 in place of pixels; None if it does not."""
        rows = value if isinstance(value, list) else [value]
        if not any(map(_is_encoded, rows)):
            return None
        images = []
        for i, row in enumerate(rows):
            if not _is_encoded(row):
                raise RequestError(400, f"{INPUT}[{i}]: expected an image in base64, as in another row")
            try:
                images.append(decode_base64(row["b64"] if isinstance(row, dict) else row))
            except ValueError:
                raise RequestError(400, f"{INPUT}[{i}]: expected pixels, or an image in base64") from None
        return self._make_rows(images, [])

    def _require_images(self) -> None:
        if not self._takes_files and self._decoder is None:
            raise RequestError(415, f"the model takes no images, but {self._tensor}; send JSON")

    def _make_rows(self, images: Sequence[bytes], given: Sequence[str]) -> NDArray[Any]:
        self._require_images()
        require_row_count(len(images), self._max_rows, INPUT)
        pixels = 0
        for i, data in enumerate(images):
            try:
                width, height = measure_image(data)
            except ValueError as error:
                raise RequestError(400, f"{INPUT}[{i}]: expected a PNG or JPEG image; {error}") from None
            if not 0 < width * height <= _MOST_PIXELS:
                size = f"{width:,} x {height:,} pixels; at most {_MOST_PIXELS:,} are accepted"
                raise RequestError(413, f"{INPUT}[{i}]: the image has {size}")
            if (scans := count_scans(data)) > _MOST_SCANS:
                raise RequestError(
                    413, f"{INPUT}[{i}]: the image has {scans:,} scans; at most {_MOST_SCANS} are accepted"
                )
            pixels += width * height
        if pixels > _MOST_IN_ALL:
            raise RequestError(
                413, f"{INPUT}: the images have {pixels:,} pixels; at most {_MOST_IN_ALL:,} are accepted"
            )
        if self._decoder is None:
            rows = np.empty(len(images), object)
            rows[:] = images
            return rows
        low, high = _read_range(given)
        _require_holds(self._tensor, low, high)
        found = [self._decode(data, i, low, high) for i, data in enumerate(images)]
        if len({row.shape for row in found}) > 1:
            raise RequestError(
                400, f"{INPUT}: the images differ in size, and a batch has one size; send them one by one"
            )
        batch = (self._tensor.shape or (None,))[0]
        if batch not in (None, len(found)):
            raise RequestError(400, f"{INPUT}: expected {format_count(batch or 0, 'image')}, got {len(found)}")
        return np.stack(found)

    def _decode(self, data: bytes, row: int, low: float, high: float) -> NDArray[Any]:
        assert self._decoder is not None
        width, height = measure_image(data)
        with self._large if width * height > _LARGE else nullcontext():
            try:
                pixels = self._decoder.decode(data)
            except ValueError:
                raise RequestError(400, f"{INPUT}[{row}]: the image is damaged; it cannot be decoded") from None
            except ModuleNotFoundError as error:
                message = f"the server cannot decode images, as {error.name} is not installed there; send their pixels"
                raise RequestError(415, message) from None
        as_they_are = (low, high) == (_BLACK, _WHITE)
        return self._decoder.arrange(pixels if as_they_are else low + pixels / _WHITE * (high - low))


def _require_short_heads(body: bytes, delimiter: bytes, most_parts: int) -> None:
    """Raise RequestError for too many parts, long headers of one, or much before the first one."""
    at = body.find(delimiter)
    short = at <= _LONGEST_HEAD and body.count(delimiter) <= most_parts + 1  # the last one is the end
    while short and at >= 0:
        short = len(body) - at <= _LONGEST_HEAD or body.find(b"\r\n\r\n", at, at + _LONGEST_HEAD) > 0
        at = body.find(delimiter, at + 1)
    if not short:
        raise RequestError(
            400, f"the form: expected at most {most_parts:,} parts, with headers of at most {_LONGEST_HEAD:,} bytes"
        )


def _is_encoded(row: Any) -> bool:
    return isinstance(row, str) or (isinstance(row, dict) and list(row) == ["b64"] and isinstance(row["b64"], str))


def _read_range(given: Sequence[str]) -> tuple[float, float]:
    """The values of black and white: 0 and 255, or those of `0,1`."""
    if not given:
        return _BLACK, _WHITE
    if len(given) > 1:
        raise RequestError(400, f"{RANGE} is there {len(given)} times")
    try:
        low, high = (float(number) for number in given[0].split(","))
        if not np.isfinite([low, high]).all():
            raise ValueError
    except ValueError:
        raise RequestError(400, f"{RANGE}: expected two numbers such as 0,1 or -1,1, got {given[0][:100]!r}") from None
    return low, high


def _require_holds(tensor: Tensor, low: float, high: float) -> None:
    """Raise RequestError if pixels of this range would be cut off, or rounded to few values."""
    kind, least, most = get_limits(tensor.dtype)
    if kind == "int" and (min(low, high) < least or max(low, high) > most or abs(high - low) < _WHITE):
        found = f"{tensor.dtype} does not hold pixels from {low:g} to {high:g}"
        raise RequestError(400, f"{RANGE}: {found}; name 256 numbers that it holds, such as 0,255 or -128,127")
