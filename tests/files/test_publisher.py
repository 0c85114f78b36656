"""A parent publishes what its child asks for; the child's end and the parent's are two threads here."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from serialization.errors import UserError
from serialization.files import publisher
from serialization.files.publish import stage_checkpoint, stage_output
from serialization.files.publisher import Publisher, have_parent_publish, publish_for_child


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """The end that this thread has as the child; the child ends with the test."""
    monkeypatch.setattr(publisher, "_parent", None)
    here, there = socket.socketpair()
    parent = threading.Thread(target=publish_for_child, args=[here])
    parent.start()
    yield have_parent_publish(there)
    there.shutdown(socket.SHUT_RDWR)
    parent.join()
    here.close()
    there.close()


def test_an_output_is_published_by_the_parent(child: Publisher, tmp_path: Path) -> None:
    with stage_output(tmp_path / "m.pb", overwrite=False) as path:
        assert child.folders == [path.parent]
        path.write_text("new")
        assert not (tmp_path / "m.pb").exists()
    assert (tmp_path / "m.pb").read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["m.pb"]


def test_a_checkpoint_is_published_by_the_parent(child: Publisher, tmp_path: Path) -> None:
    with stage_checkpoint(tmp_path / "m.ckpt", overwrite=False) as prefix:
        prefix.with_name("m.ckpt.index").write_text("index")
    assert [file.name for file in tmp_path.iterdir()] == ["m.ckpt.index"]


@pytest.mark.parametrize("name", ["größe", "a\nb", "\udcff", '"', "a b"])
def test_every_name(child: Publisher, tmp_path: Path, name: str) -> None:
    with stage_output(tmp_path / name, overwrite=False) as path:
        path.write_text("new")
    assert (tmp_path / name).read_text() == "new"


def test_an_error_of_the_parent_is_the_childs(child: Publisher, tmp_path: Path) -> None:
    (tmp_path / "m.pb").write_text("old")
    with (
        pytest.raises(UserError, match=r"m\.pb exists already; --overwrite"),
        stage_output(tmp_path / "m.pb", overwrite=False),
    ):
        raise AssertionError("not reached")
    with stage_output(tmp_path / "m.pb", overwrite=True) as path:
        path.write_text("new")


def test_the_rest_is_removed_when_the_child_ends(tmp_path: Path) -> None:
    here, there = socket.socketpair()
    child = Publisher(there)
    parent = threading.Thread(target=publish_for_child, args=[here])
    parent.start()
    staging = child.stage("stage_output", tmp_path / "sub" / "m.pb", overwrite=False)
    staging.__enter__().write_text("half")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    child.begin_loading(temporary)
    there.shutdown(socket.SHUT_RDWR)
    parent.join()
    assert list(tmp_path.iterdir()) == []
    here.close()
    there.close()


def test_a_child_that_runs_a_model_is_given_no_more_folders(child: Publisher, tmp_path: Path) -> None:
    with stage_output(tmp_path / "m.pb", overwrite=False) as path:
        path.write_text("new")
        child.begin_loading(tmp_path / "temporary")
        with (
            pytest.raises(UserError, match="staged before the model is loaded"),
            stage_output(tmp_path / ".bashrc", overwrite=True),
        ):
            raise AssertionError("not reached")
        with pytest.raises(UserError):
            child.begin_loading(tmp_path / "elsewhere")
    assert (tmp_path / "m.pb").read_text() == "new"
