"""What a Keras file says of its model is read from its bytes; archives that would do harm when unpacked are refused."""

from __future__ import annotations

import io
import json
import stat
import zipfile

import fuzzing
import pytest

from serialization.formats.keras_files import holds_layers, holds_model, iterate_objects, open_archive, read_model
from serialization.formats.wire import DamagedError

LAYERS = {"class_name": "Sequential", "module": "keras", "config": {"layers": []}}


def pack(version: str = "3.15.1", config: object = LAYERS, **others: bytes) -> bytes:
    with zipfile.ZipFile(packed := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(config))
        for name, content in others.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.mark.parametrize(("version", "major"), [("3.15.1", 3), ("2.15.0", 2), ("2.4.0-tf", 2), ("10.0", 3)])
def test_the_version_in_an_archive(version: str, major: int) -> None:
    model = read_model(pack(version))
    assert (model.version, model.major, model.config) == (version, major, LAYERS)
    assert holds_model(pack(version))


def test_without_a_version_the_layers_tell() -> None:
    old = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 2]}}
    assert read_model(json.dumps(LAYERS).encode()).major == 3
    assert read_model(json.dumps(LAYERS | {"config": {"layers": [old]}}).encode()).major == 2
    assert read_model(json.dumps({"class_name": "Model", "config": {}}).encode()).major == 2
    assert read_model(json.dumps(LAYERS).encode(), b'{"keras_version": "2.13.1"}').major == 2


def test_what_is_for_training_is_left_out() -> None:
    compiled = LAYERS | {"compile_config": {"loss": {"class_name": "Own", "module": "mine", "config": {}}}}
    assert read_model(pack(config=compiled)).config == LAYERS


def test_which_texts_are_layers() -> None:
    assert holds_layers('\ufeff {"config": 1, "class_name": "Model"}')
    assert not holds_layers('{"model": "class_name"}')
    assert not holds_layers('["class_name", "config"]')


def test_objects_at_any_depth_in_their_order() -> None:
    inner = {"class_name": "B", "config": {"list": [{"class_name": "C", "config": None}]}}
    tree = {"class_name": "A", "config": {"x": inner}, "y": {"class_name": "D", "config": "text"}, "class": "no"}
    assert [one["class_name"] for one in iterate_objects(tree)] == ["A", "B", "C", "D"]


def archive_with(name: str, mode: int = 0) -> bytes:
    with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, b"x")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (archive_with("../x"), "would be unpacked elsewhere"),
        (archive_with("/etc/x"), "would be unpacked elsewhere"),
        (archive_with("a\\..\\..\\x"), "would be unpacked elsewhere"),
        (archive_with("C:/x"), "would be unpacked elsewhere"),
        (archive_with("x", stat.S_IFLNK | 0o777), "is a link or a device"),
        (pack(big=bytes(100 << 20)), "would become"),
        (pack()[:-10], "cannot be read"),
    ],
)
def test_an_archive_that_would_do_harm(data: bytes, why: str) -> None:
    with pytest.raises(DamagedError, match=why):
        open_archive(data)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_entries_of_one_name() -> None:
    with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
        archive.writestr("config.json", b"1")
        archive.writestr("config.json", b"2")
    with pytest.raises(DamagedError, match=r"several entries 'config\.json'"):
        open_archive(packed.getvalue())


@pytest.mark.parametrize("config", ["text", [1], None])
def test_json_that_is_no_object(config: object) -> None:
    with pytest.raises(DamagedError, match="no JSON object"):
        read_model(pack(config=config))


def test_damage_ends_in_an_error_or_in_layers() -> None:
    data = pack()
    read = 0
    for case in range(1500):
        changed = fuzzing.damage(data, case)
        if holds_model(changed):
            try:
                read += isinstance(read_model(changed).config, dict)
            except DamagedError:
                continue
    assert read > 100
