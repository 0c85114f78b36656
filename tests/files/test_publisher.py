"""A parent publishes what its child asks for; the child's end and the parent's are two threads here."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from conftest import PROJECT, environment

from serialization.errors import UserError
from serialization.files import publisher
from serialization.files.publish import stage_checkpoint, stage_output
from serialization.files.publisher import have_parent_publish, list_staging_folders, publish_for_child


@contextmanager
def becoming_child(monkeypatch: pytest.MonkeyPatch, *, may_stage: bool) -> Iterator[None]:
    """Make this thread the child meanwhile."""
    monkeypatch.setattr(publisher, "_parent", None)
    here, there = socket.socketpair()
    parent = threading.Thread(target=publish_for_child, args=[here], kwargs={"may_stage": may_stage})
    parent.start()
    have_parent_publish(there)
    try:
        yield
    finally:
        there.shutdown(socket.SHUT_RDWR)
        parent.join()
        here.close()
        there.close()


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The child ends with the test."""
    with becoming_child(monkeypatch, may_stage=True):
        yield


def test_an_output_is_published_by_the_parent(child: None, tmp_path: Path) -> None:
    with stage_output(tmp_path / "m.pb", overwrite=False) as path:
        assert list_staging_folders() == [path.parent]
        path.write_text("new")
        assert not (tmp_path / "m.pb").exists()
    assert (tmp_path / "m.pb").read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["m.pb"]


def test_a_checkpoint_is_published_by_the_parent(child: None, tmp_path: Path) -> None:
    with stage_checkpoint(tmp_path / "m.ckpt", overwrite=False) as prefix:
        prefix.with_name("m.ckpt.index").write_text("index")
    assert [file.name for file in tmp_path.iterdir()] == ["m.ckpt.index"]


@pytest.mark.parametrize("name", ["größe", "a\nb", "\udcff", '"', "a b"])
def test_every_name(child: None, tmp_path: Path, name: str) -> None:
    with stage_output(tmp_path / name, overwrite=False) as path:
        path.write_text("new")
    assert (tmp_path / name).read_text() == "new"


def test_an_error_of_the_parent_is_the_childs(child: None, tmp_path: Path) -> None:
    (tmp_path / "m.pb").write_text("old")
    with (
        pytest.raises(UserError, match=r"m\.pb exists already; --overwrite"),
        stage_output(tmp_path / "m.pb", overwrite=False),
    ):
        raise AssertionError("not reached")
    with stage_output(tmp_path / "m.pb", overwrite=True) as path:
        path.write_text("new")


def test_the_rest_is_removed_when_the_child_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with becoming_child(monkeypatch, may_stage=True):
        staging = stage_output(tmp_path / "sub" / "m.pb", overwrite=False)
        staging.__enter__().write_text("half")
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_runs_a_model_is_given_no_more_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (
        becoming_child(monkeypatch, may_stage=False),
        pytest.raises(UserError, match="staged before the model is loaded"),
        stage_output(tmp_path / ".bashrc", overwrite=True),
    ):
        raise AssertionError("not reached")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fails", [False, True])
def test_what_was_staged_before_the_fork_is_published_by_the_parent(tmp_path: Path, fails: bool) -> None:
    here, there = socket.socketpair()
    staging = stage_output(tmp_path / "sub" / "m.pb", overwrite=False)
    path = staging.__enter__()
    assert list_staging_folders() == [path.parent]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            here.close()
            have_parent_publish(there)
            path.write_text("new")
            with suppress(ZeroDivisionError):
                staging.__exit__(ZeroDivisionError, ZeroDivisionError(), None) if fails else staging.__exit__(
                    None, None, None
                )
            status = 0
        finally:
            os._exit(status)
    there.close()
    publish_for_child(here, may_stage=False)
    here.close()
    assert os.waitpid(child, 0)[1] == 0
    assert list_staging_folders() == []
    if fails:
        assert list(tmp_path.iterdir()) == []
    else:
        assert [path.name for path in (tmp_path / "sub").iterdir()] == ["m.pb"]
        assert (tmp_path / "sub" / "m.pb").read_text() == "new"


def test_an_error_of_the_child_names_the_target_and_not_the_staged_file(child: None, tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    for stage in (stage_output, stage_checkpoint):
        with (
            pytest.raises(
                UserError, match=rf"^cannot write {tmp_path}/m; No space left on device; name another place$"
            ),
            stage(tmp_path / "m", overwrite=False),
        ):
            raise full
        with (
            pytest.raises(UserError, match=rf"^{tmp_path}/m\.index is damaged$"),
            stage(tmp_path / "m", overwrite=False) as path,
        ):
            raise UserError(f"{path}.index is damaged")
        with (
            pytest.raises(UserError, match=rf"^cannot write {tmp_path}/m; denied; name another place$"),
            stage(tmp_path / "m", overwrite=False) as path,
        ):
            raise PermissionError(errno.EACCES, "denied", f"{path}.index")
        with (
            pytest.raises(PermissionError, match=r"denied: '/elsewhere'$"),
            stage(tmp_path / "m", overwrite=False),
        ):
            raise PermissionError(errno.EACCES, "denied", "/elsewhere")


def test_a_full_disk_is_named_by_a_script_of_its_own(tmp_path: Path, made: Path) -> None:
    """As a user starts it: in a child, whose files may not grow here."""
    command = [
        sys.executable,
        str(PROJECT / "model_inspect.py"),
        str(made / "frozen_model.pb"),
        "--tensorboard",
        "logs",
    ]
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (16, 16))
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    written = "logs/events.out.tfevents.0.model_inspect"
    assert done.stderr == f"error: cannot write {written}; File too large; name another place\n"
    assert list(tmp_path.iterdir()) == []
