"""The page at /, used in headless Chromium: with the toy model, and with a picture for the ResNet."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import PROJECT
from image_files import STORED, make_exif, make_photo, make_png_photo, make_scene
from playwright.sync_api import Browser, Page, expect, sync_playwright
from proxies import behind
from serving_models import PREDICT, Server, serving, soon

from serialization.tensorflow import np, tf, tf1

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 120_000  # milliseconds, which suffice on a busy machine
expect.set_options(timeout=PATIENCE)
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("optional: no chromium here; install the browser chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A phone's page, on which no script fails and nothing is fetched from elsewhere."""
    page = browser.new_page(viewport=PHONE)  # type: ignore[arg-type]
    page.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    # A browser also writes an error of its own for every answer that is 4xx, as one of these tests wants it.
    page.on(
        "console",
        lambda message: (
            wrong.append(message.text) if message.type == "error" and "status of 400" not in message.text else None
        ),
    )
    page.on("request", lambda request: asked.append(request.url))
    yield page
    page.close()
    assert wrong == []
    assert all(url.startswith(("http://127.0.0.1:", "data:", "blob:")) for url in asked)


@pytest.fixture(scope="module")
def toy(made: Path) -> Iterator[Server]:
    with serving("--frozen-model", made / "frozen_model.pb", "--path-prefix", "/models/toy") as server:
        yield server


@contextmanager
def serving_identity(folder: Path, dtype: str, shape: list[int | None]) -> Iterator[Server]:
    """A server whose model gives back the pixels that it takes."""
    with tf1.Graph().as_default() as graph:
        tf.identity(tf1.placeholder(dtype, shape, name="x"), name="same")
    (folder / "same.pb").write_bytes(graph.as_graph_def().SerializeToString())
    with serving("--frozen-model", folder / "same.pb", "--inputs", "x", "--outputs", "same") as server:
        yield server


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving_identity(tmp_path_factory.mktemp("photos"), "uint8", [None, 24, 40, 3]) as server:
        yield server


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving_identity(tmp_path_factory.mktemp("grey"), "float32", [None, 8, 8, 1]) as server:
        yield server


@pytest.fixture(scope="module")
def resnet() -> Iterator[Server]:
    with serving("--saved-model", PROJECT / "pretrainedresnet" / "1", "--signature", "serving_default") as server:
        yield server


def test_the_example_can_be_sent(page: Page, toy: Server) -> None:
    page.goto(toy.url)
    assert page.locator("#name").inner_text() in toy.printed[0]
    assert "Placeholder/inputs_placeholder:0" in page.locator("#tensors").inner_text()
    assert "[None, 10]" in page.locator("#tensors").inner_text()
    page.click("#send")
    expect(page.locator("#status")).to_contain_text("200 in ")
    assert set(json.loads(page.locator("#answer").inner_text())) == {"y"}
    assert page.locator("#picture").is_hidden()


def test_an_error_is_shown_with_its_place(page: Page, toy: Server) -> None:
    page.goto(toy.url)
    page.fill("#body", '{"x": [[0, "1", 2, 3, 4, 5, 6, 7, 8, 9]]}')
    page.click("#send")
    expect(page.locator("#status")).to_contain_text("400 in ")
    assert "x[0][1]: expected a number, got a string" in page.locator("#answer").inner_text()
    page.click("#reset")
    expect(page.locator("#status")).to_have_text("")
    page.click("#send")
    expect(page.locator("#status")).to_contain_text("200 in ")


def test_the_curl_line_sends_the_same_request(page: Page, toy: Server) -> None:
    page.goto(toy.url)
    page.fill("#body", json.dumps({"x": [[5] * 10]}))
    line = page.locator("#curl").inner_text()
    done = subprocess.run(line, shell=True, check=True, capture_output=True)
    assert json.loads(done.stdout) == {"y": [[True]]}
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy")
    expect(page.locator("#copied")).to_have_text("copied")
    assert page.evaluate("navigator.clipboard.readText()") == line


def test_a_long_body_is_saved_for_curl(page: Page, toy: Server) -> None:
    page.goto(toy.url)
    body = json.dumps({"x": [[5] * 10] * 40})
    assert len(body) > 1000
    page.fill("#body", body)
    assert page.locator("#curl").inner_text().endswith(" -d @body.json")
    with page.expect_download() as download:
        page.click("#save")
    assert Path(download.value.path()).read_text() == body
    page.click("#reset")
    assert page.locator("#save").is_hidden()


def test_control_enter_sends_and_a_failed_request_is_shown(page: Page, toy: Server) -> None:
    page.goto(toy.url)
    page.press("#body", "Control+Enter")
    expect(page.locator("#status")).to_contain_text("200 in ")
    page.evaluate("() => { window.fetch = () => Promise.reject(new TypeError('nobody there')); }")
    page.click("#send")
    expect(page.locator("#status")).to_have_text("no answer: nobody there")
    assert page.locator("#answer").inner_text() == "–"


def test_the_places_in_a_body_are_shown(page: Page, resnet: Server) -> None:
    page.goto(resnet.url)
    places = page.locator("#tensors td:nth-child(2)").all_inner_texts()
    assert places[0] == "x"
    page.click("#send")
    expect(page.locator("#status")).to_contain_text("200 in ")
    assert {f"y.{key}" for key in json.loads(page.locator("#answer").inner_text())["y"]} == set(places[1:])


def test_the_page_fits_a_phone(page: Page, toy: Server, resnet: Server) -> None:
    for server in (toy, resnet):
        page.goto(server.url)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize(("sample", "label"), [("ankle_boot_0", 9), ("trouser_0", 1), ("bag_0", 8)])
def test_an_image_can_be_chosen(page: Page, resnet: Server, sample: str, label: int) -> None:
    page.goto(resnet.url)
    assert page.locator("#range-row").is_hidden(), "the pixels are uint8"
    page.set_input_files("#file", PROJECT / "pretrainedresnet" / "samples" / f"{sample}.png")
    expect(page.locator("#status")).to_contain_text("200 in ")
    answer = json.loads(page.locator("#answer").inner_text())["y"]
    assert [value for value in answer.values() if len(value) == 1 and isinstance(value[0], int)] == [[label]]


@pytest.mark.parametrize("orientation", STORED)
def test_a_photo_is_the_same_on_the_page_and_for_curl(
    page: Page, photos: Server, tmp_path: Path, orientation: int
) -> None:
    stored = STORED[orientation](make_scene())
    for name, data in (
        ("photo.jpg", make_photo(stored, make_exif(orientation))),
        ("photo.png", make_png_photo(stored, orientation)),
    ):
        (tmp_path / name).write_bytes(data)
        page.goto(photos.url)
        page.set_input_files("#file", tmp_path / name)
        expect(page.locator("#status")).to_contain_text("200 in ")
        shown = np.array(json.loads(page.locator("#answer").inner_text())["y"])
        answer = photos.request("POST", PREDICT, data, Content_Type="image/jpeg")[2]
        assert np.abs(shown - np.array(json.loads(answer)["y"])).max() <= 8
        assert np.abs(shown[0] - make_scene().astype(int)).max() <= 8


def test_an_image_can_be_dropped(page: Page, resnet: Server) -> None:
    page.goto(resnet.url)
    data = (PROJECT / "pretrainedresnet" / "samples" / "trouser_0.png").read_bytes()
    transfer = page.evaluate_handle(
        """(bytes) => { const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], "trouser.png", {type: "image/png"}));
        return transfer; }""",
        list(data),
    )
    page.dispatch_event("#answer", "drop", {"dataTransfer": transfer})
    expect(page.locator("#status")).to_contain_text("200 in ")
    assert [1] in json.loads(page.locator("#answer").inner_text())["y"].values()


def test_the_classes_of_an_answer_are_a_table(page: Page, resnet: Server) -> None:
    page.goto(resnet.url)
    page.set_input_files("#file", PROJECT / "pretrainedresnet" / "samples" / "trouser_0.png")
    expect(page.locator("#status")).to_contain_text("200 in ")
    rows = page.locator("#classes tr")
    expect(rows.first).to_contain_text("Trouser")
    assert rows.count() == 10
    shares = [float(text.removesuffix(" %")) for text in page.locator("#classes td:last-child").all_inner_texts()]
    assert shares == sorted(shares, reverse=True), "the best comes first"
    widths = page.eval_on_selector_all("#classes i", "bars => bars.map(bar => bar.getBoundingClientRect().width)")
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 10 * widths[1]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.fill("#body", "{")
    page.click("#send")
    expect(page.locator("#status")).to_contain_text("400 in ")
    assert page.locator("#classes").is_hidden()


def test_the_example_is_a_picture(page: Page, resnet: Server) -> None:
    """The first one that lies beside the model, not noise."""
    page.goto(resnet.url)
    expect(page.locator("#canvas")).to_be_visible()
    page.click("#send")
    expect(page.locator("#classes tr").first).to_contain_text("Ankle boot")
    page.set_input_files("#file", PROJECT / "pretrainedresnet" / "samples" / "trouser_0.png")
    expect(page.locator("#classes tr").first).to_contain_text("Trouser")
    trouser = drawn(page)
    page.click("#reset")
    page.click("#send")
    expect(page.locator("#classes tr").first).to_contain_text("Ankle boot")
    assert soon(lambda: drawn(page) != trouser), "the picture is that of the body"


def drawn(page: Page) -> str:
    """The picture that the page shows, as a data: URL."""
    url: str = page.evaluate("document.getElementById('canvas').toDataURL()")
    return url


def test_curl_sends_the_file_itself(page: Page, resnet: Server) -> None:
    folder = PROJECT / "pretrainedresnet" / "samples"
    page.goto(resnet.url)
    assert page.locator("#file-curl pre").inner_text() == f"curl -F 'image=@FILE' {resnet.url}{PREDICT}"
    page.set_input_files("#file", folder / "trouser_0.png")
    expect(page.locator("#classes tr").first).to_contain_text("Trouser")
    line = page.locator("#file-curl pre").inner_text()
    done = subprocess.run(line, shell=True, check=True, capture_output=True, cwd=folder)
    assert json.loads(done.stdout) == json.loads(page.locator("#answer").inner_text())


def test_curl_names_the_range_of_pixels(page: Page, grey: Server) -> None:
    page.goto(grey.url)
    expect(page.locator("#canvas")).to_be_visible()
    page.select_option("#range", "-1,1")
    expect(page.locator("#status")).to_contain_text("200 in ")
    assert " -F range=-1,1 " in page.locator("#file-curl pre").inner_text()
    sent = np.array(json.loads(page.locator("#body").input_value())["x"])
    assert (sent.min() >= -1) & (sent.min() < 0)


def test_the_page_says_in_words_how_the_model_runs(page: Page, toy: Server) -> None:
    page.goto(toy.url)
    assert "Each request is answered at once" in page.locator("#how").inner_text()


def test_the_page_works_below_a_path(page: Page, toy: Server) -> None:
    page.goto(f"{toy.url}/models/toy")
    assert page.url.endswith("/models/toy/")
    page.click("#send")
    expect(page.locator("#status")).to_contain_text("200 in ")
    assert f"{toy.url}/models/toy/api/predict" in page.locator("#curl").inner_text()
    document = page.request.get(page.evaluate("document.querySelector('a[href=\"openapi.json\"]').href"))
    assert document.url == f"{toy.url}/models/toy/openapi.json"
    assert document.json()["servers"] == [{"url": "."}]


@pytest.mark.parametrize("prefix", ["/toy", "/models/toy"])  # taken off by the proxy, and by the server
def test_the_page_works_behind_a_proxy(page: Page, toy: Server, tmp_path: Path, prefix: str) -> None:
    with behind("nginx", tmp_path, toy.address) as address:
        url = "http://{}:{}".format(*address)
        page.goto(url + prefix)
        assert page.url == f"{url}{prefix}/"
        page.click("#send")
        expect(page.locator("#status")).to_contain_text("200 in ")
        assert f"{url}{prefix}/api/predict" in page.locator("#curl").inner_text()
        document = page.request.get(page.evaluate("document.querySelector('a[href=\"openapi.json\"]').href"))
        assert (document.url, document.status) == (f"{url}{prefix}/openapi.json", 200)


def test_a_file_that_is_not_an_image_is_refused(page: Page, resnet: Server, tmp_path: Path) -> None:
    (tmp_path / "none.png").write_bytes(b"no picture")
    page.goto(resnet.url)
    page.set_input_files("#file", tmp_path / "none.png")
    expect(page.locator("#status")).to_contain_text("cannot read this file as an image")
