"""Images as bodies, in forms and in JSON; the model sees the pixels that TensorFlow decodes."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from conftest import PROJECT, Clients
from flask.testing import FlaskClient
from image_files import STORED, make_exif, make_photo, make_png_photo, make_scene
from serving_models import PREDICT, make_identity, post

from serialization.serving.wire import image_format
from serialization.tensorflow import np, tf

SAMPLES = PROJECT / "pretrainedresnet" / "samples"
BAG, COAT = (SAMPLES / "bag_0.png").read_bytes(), (SAMPLES / "coat_0.png").read_bytes()
PIXELS = tf.io.decode_png(BAG).numpy()
COAT_PIXELS = tf.io.decode_png(COAT).numpy()
JPEG = tf.io.encode_jpeg(PIXELS, quality=95).numpy()


@pytest.fixture(scope="module")
def grey() -> FlaskClient:
    """A server whose model gives back the pixels that it takes."""
    return make_identity("uint8", [None, 28, 28, 1])


def send(client: FlaskClient, body: bytes, content_type: str, query: str = "") -> tuple[int, Any]:
    answer = client.post(PREDICT + query, data=body, content_type=content_type)
    value = answer.get_json()
    return answer.status_code, value["y"] if answer.status_code == 200 else value["error"]


def form(files: Sequence[bytes], **fields: str) -> tuple[bytes, str]:
    """The body of a form as curl -F sends it, and its type."""
    parts = [
        b'--line\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        + file
        for file in files
    ]
    parts += [f'--line\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}'.encode() for k, v in fields.items()]
    return b"\r\n".join([*parts, b"--line--\r\n"]), "multipart/form-data; boundary=line"


def test_an_image_is_a_body(grey: FlaskClient) -> None:
    assert send(grey, BAG, "image/png") == (200, [PIXELS.tolist()])
    assert send(grey, JPEG, "image/jpeg") == (200, [tf.io.decode_jpeg(JPEG).numpy().tolist()])
    assert send(grey, BAG, "image/jpeg") == (200, [PIXELS.tolist()]), "its bytes tell what it is"
    assert send(grey, BAG, "application/octet-stream") == (200, [PIXELS.tolist()])
    file = io.BytesIO()
    np.save(file, PIXELS[None])
    assert send(grey, file.getvalue(), "application/octet-stream") == (200, [PIXELS.tolist()])


def test_the_types_of_images_are_named_if_the_model_takes_them(grey: FlaskClient, clients: Clients) -> None:
    """Curl --data-binary says that it sends a form."""
    for client, named in (
        (grey, ", application/x-npy, image/png, image/jpeg or multipart/form-data"),
        (clients("log"), " or application/x-npy"),
    ):
        error = f"Content-Type: expected application/json (in UTF-8){named}, got 'image/gif'"
        assert send(client, BAG, "image/gif") == (415, error)


def test_files_of_a_form_are_rows(grey: FlaskClient) -> None:
    assert send(grey, *form([BAG])) == (200, [PIXELS.tolist()])
    assert send(grey, *form([BAG, COAT], other="ignored")) == (200, [PIXELS.tolist(), COAT_PIXELS.tolist()])


def test_images_stand_in_json_as_base64(grey: FlaskClient) -> None:
    text = base64.b64encode(BAG).decode()
    safe = base64.urlsafe_b64encode(BAG).decode().rstrip("=")
    for image in ({"b64": text}, {"b64": safe}, f"data:image/png;base64,{text}", text):
        assert post(grey, json.dumps({"x": [image]})) == (200, {"y": [PIXELS.tolist()]})
    assert post(grey, json.dumps({"x": [{"b64": "%"}]})) == (
        400,
        {"error": "x[0]: expected pixels, or an image in base64"},
    )
    status, answer = post(grey, json.dumps({"x": [{"b64": text}, [[[0]]]]}))
    assert (status, answer["error"]) == (400, "x[1]: expected an image in base64, as in another row")


@pytest.mark.parametrize(("given", "low", "high"), [("", 0, 255), ("0,1", 0, 1), ("-1,1", -1, 1)])
def test_pixels_are_scaled_as_asked(given: str, low: float, high: float) -> None:
    client = make_identity("float32", [None, 28, 28, 1])
    expected = pytest.approx(low + PIXELS.ravel() / 255 * (high - low), abs=1e-5)
    fields = {"range": given} if given else {}
    for answer in (
        send(client, BAG, "image/png", f"?range={given}" if given else ""),
        send(client, *form([BAG], **fields)),
    ):
        assert answer[0] == 200
        assert np.ravel(answer[1]) == expected


def test_whole_numbers_hold_the_pixels_or_the_range_is_refused(grey: FlaskClient) -> None:
    signed = make_identity("int8", [None, 28, 28, 1])
    expected = (PIXELS.astype(int) - 128).ravel().tolist()
    assert np.ravel(send(signed, BAG, "image/png", "?range=-128,127")[1]).tolist() == expected
    for client, query, found in (
        (signed, "", "int8 does not hold pixels from 0 to 255"),
        (grey, "?range=0,1", "uint8 does not hold pixels from 0 to 1"),
        (grey, "?range=-128,127", "uint8 does not hold pixels from -128 to 127"),
    ):
        status, error = send(client, BAG, "image/png", query)
        assert (status, error.partition(";")[0]) == (400, f"range: {found}")


def test_images_are_resized_and_turned_to_the_layout_of_the_model() -> None:
    large = tf.io.encode_png(tf.repeat(tf.repeat(PIXELS, 2, 0), 2, 1)).numpy()
    status, rows = send(make_identity("uint8", [None, 3, 28, 28]), large, "image/png")
    assert status == 200
    assert np.shape(rows) == (1, 3, 28, 28)
    assert np.abs(np.array(rows)[0, 1].astype(int) - PIXELS[..., 0]).mean() < 10
    status, rows = send(make_identity("uint8", [None, None, None, 1]), large, "image/png")
    assert (status, np.shape(rows)) == (200, (1, 56, 56, 1)), "the model takes any size"


def test_a_model_that_decodes_images_gets_the_bytes(clients: Clients) -> None:
    assert send(clients("picture"), BAG, "image/png") == (200, [PIXELS[0, 0, 0]])
    assert send(clients("picture"), *form([BAG, COAT])) == (200, [PIXELS[0, 0, 0], COAT_PIXELS[0, 0, 0]])
    text = base64.urlsafe_b64encode(BAG).decode()
    for image in (text, text.rstrip("="), "data:image/png;base64," + base64.b64encode(BAG).decode()):
        assert post(clients("picture"), json.dumps({"x": [{"b64": image}]})) == (200, {"y": [PIXELS[0, 0, 0]]})


def png_of(width: int, height: int) -> bytes:
    """A PNG file whose header has these sizes, and of whose pixels there are few."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = b""
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")):
        chunks += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize(
    ("body", "content_type", "status", "error"),
    [
        (b"", "image/png", 400, "x[0]: expected a PNG or JPEG image; it is empty"),
        (b"GIF89a" + bytes(20), "image/png", 400, "x[0]: expected a PNG or JPEG image; its first bytes are of neither"),
        (BAG[:60], "image/png", 400, "x[0]: the image is damaged; it cannot be decoded"),
        (
            png_of(100_000, 100_000),
            "image/png",
            413,
            "x[0]: the image has 100,000 x 100,000 pixels; at most 50,000,000 are accepted",
        ),
        (png_of(0, 5), "image/png", 413, "x[0]: the image has 0 x 5 pixels; at most 50,000,000 are accepted"),
        (*form([]), 400, "the form has no file; send one with curl -F image=@FILE"),
        (*form([BAG, b"text"]), 400, "x[1]: expected a PNG or JPEG image; its first bytes are of neither"),
        (
            BAG + b"--line--",
            "multipart/form-data; boundary=line",
            400,
            "the form has no file; send one with curl -F image=@FILE",
        ),
        (
            *form([BAG, b"\xff\xd8\xff" + b"\xff\xda" * 201]),
            400,
            "x[1]: expected a PNG or JPEG image; its header is damaged",
        ),
        (
            JPEG.replace(b"\xff\xda", b"\xff\xda" * 201),
            "image/jpeg",
            413,
            "x[0]: the image has 201 scans; at most 200 are accepted",
        ),
        (*form([BAG], range="white"), 400, "range: expected two numbers such as 0,1 or -1,1, got 'white'"),
    ],
)
def test_what_is_no_image_is_refused(body: bytes, content_type: str, status: int, error: str) -> None:
    assert send(make_identity("float32", [None, 28, 28, 1]), body, content_type) == (status, error)


def test_a_form_without_an_end_is_refused(grey: FlaskClient) -> None:
    whole, content_type = form([BAG])
    message = "the body is not a whole multipart/form-data form: a boundary or the end is missing"
    for body in (whole[: len(whole) // 2], whole[:-14], whole[:10], b"text"):
        assert send(grey, body, content_type) == (400, message)
    for odd in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=other"):
        assert send(grey, whole, odd) == (400, message)
    headers = b"--line\r\n" + b"A: b\r\n" * 10_000 + b"\r\n"
    status, _ = send(grey, headers + whole, content_type)
    assert status == 400


NAMED = b'--line\r\nContent-Disposition: form-data; name="image"; filename="a.png"'


@pytest.mark.parametrize(
    "body",
    [
        b"--line\r\n" + b"A: b\r\n" * 2000 + b"\r\n--line--",
        NAMED + b"; a=" * 3000 + b"\r\n\r\n" + BAG + b"\r\n--line--",  # megabytes of these took seconds
        b"x" * 9000 + form([BAG])[0],
        form([])[0].replace(b"--line--", b"--line\r\n\r\n\r\n" * 5000 + b"--line--"),
    ],
)
def test_a_form_with_long_headers_or_many_parts_is_refused(grey: FlaskClient, body: bytes) -> None:
    error = "the form: expected at most 4,106 parts, with headers of at most 8,192 bytes"
    assert send(grey, body, "multipart/form-data; boundary=line") == (400, error)


def test_a_range_that_is_there_twice_is_refused() -> None:
    client = make_identity("float32", [None, 28, 28, 1])
    body, content_type = form([BAG], range="0,1")
    twice = body.replace(b"--line--", b'--line\r\nContent-Disposition: form-data; name="range"\r\n\r\n-1,1\r\n--line--')
    assert send(client, twice, content_type) == (400, "range is there 2 times")
    assert send(client, body, content_type, "?range=0,1") == (400, "range is there 2 times")
    assert send(client, BAG, "image/png", "?range=0,1&range=-1,1") == (400, "range is there 2 times")


def test_the_pixels_of_all_images_of_a_request_are_limited(grey: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture of one colour is 1,000 times as large as its file."""
    monkeypatch.setattr(image_format, "_MOST_IN_ALL", 3 * 28 * 28)
    assert send(grey, *form([BAG] * 3))[0] == 200
    assert send(grey, *form([BAG] * 4)) == (413, "x: the images have 3,136 pixels; at most 2,352 are accepted")


def test_too_many_images_are_refused() -> None:
    client = make_identity("uint8", [2, 28, 28, 1])
    assert send(client, BAG, "image/png") == (400, "x: expected 2 images, got 1")
    assert send(client, *form([BAG, COAT])) == (200, [PIXELS.tolist(), COAT_PIXELS.tolist()])
    any_size = make_identity("uint8", [None, None, None, 1])
    small = tf.io.encode_png(PIXELS[:5]).numpy()
    assert send(any_size, *form([BAG, small])) == (
        400,
        "x: the images differ in size, and a batch has one size; send them one by one",
    )


def test_the_document_lists_images_for_models_that_take_them(grey: FlaskClient, clients: Clients) -> None:
    for client, wanted in ((grey, True), (clients("picture"), True), (clients("log"), False)):
        body = client.get("/openapi.json").get_json()["paths"][PREDICT]["post"]["requestBody"]
        assert ({"image/png", "image/jpeg", "multipart/form-data"} <= set(body["content"])) == wanted


def test_a_model_without_images_says_so(clients: Clients) -> None:
    error = "the model takes no images, but x = x:0 float32 [None, 2]; send JSON"
    for body, content_type in ((BAG, "image/png"), form([BAG])):
        status, found = send(clients("log"), body, content_type)
        assert (status, found.partition(",")[0]) == (415, error.partition(",")[0])


@pytest.mark.parametrize("orientation", STORED)
def test_photos_are_turned_upright(orientation: int) -> None:
    """As browsers do; a camera stores the pixels as it was held."""
    scene = make_scene()
    photo = make_photo(STORED[orientation](scene), make_exif(orientation))
    status, rows = send(make_identity("uint8", [None, None, None, 3]), photo, "image/jpeg")
    assert (status, np.shape(rows)) == (200, (1, 24, 40, 3))
    assert np.abs(np.array(rows[0]) - scene.astype(int)).max() <= 8, "JPEG rounds"
    png = make_png_photo(STORED[orientation](scene), orientation)
    assert send(make_identity("uint8", [None, None, None, 3]), png, "image/png") == (200, [scene.tolist()])
    status, rows = send(make_identity("uint8", [None, 12, 20, 3]), photo, "image/jpeg")
    corners = np.array(rows[0])[[1, 1, -2, -2], [1, -2, 1, -2]]
    assert np.abs(corners - scene[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)).max() <= 8, "turned before it is resized"


def test_large_images_are_decoded_one_at_a_time(grey: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_format, "_LARGE", 1)
    assert send(grey, *form([BAG, COAT])) == (200, [PIXELS.tolist(), COAT_PIXELS.tolist()])


def test_the_client_of_a_form_may_be_a_browser(grey: FlaskClient) -> None:
    answer = grey.post(PREDICT, data={"image": (io.BytesIO(BAG), "bag.png", "image/png")})
    assert answer.get_json() == {"y": [PIXELS.tolist()]}
