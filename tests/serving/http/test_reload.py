"""A served model follows the files at its path: each version is taken whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serialization.errors import UserError
from serialization.files.stamps import Stamp
from serialization.graph.signature import Signature, Tensor
from serialization.serving.http.reload import Reloader, Watched
from serialization.serving.http.worker import LOADED, REFUSED
from serialization.serving.limits import Settings
from serialization.serving.wire.protocol import ServedModel, name_served_model

SIGNATURE = Signature((Tensor("x", "x:0", "float32", (None,)),), (Tensor("y", "y:0", "float32", (None,)),))
OTHER = Signature((Tensor("x", "x:0", "float32", (None, 2)),), (Tensor("y", "y:0", "float32", (None,)),))


@dataclass(eq=False)
class Loaded:
    """What stands for a loaded model: the text of its file."""

    path: str
    text: str
    served: ServedModel
    engine: Any
    is_closed: bool = False
    slot: Any = None

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True


@dataclass
class Server:
    """A reloader, and what stands for the route: the requests under way, and the versions made ready."""

    place: Path
    kind: str = "saved_model"
    keep: int = 1
    used: list[Loaded] = field(default_factory=list)
    prepared: list[Loaded] = field(default_factory=list)
    said: list[tuple[str, str]] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    during: Callable[[], object] = lambda: None
    ask: Any = lambda *_: None

    def __post_init__(self) -> None:
        self.reloader = Reloader(Watched(self.kind, self.place, self.load, self.keep, self.ask))  # type: ignore[arg-type]
        self.route: Any = SimpleNamespace(prepare=self.prepared.append, uses=lambda version: version in self.used)
        self.say()

    def load(self, path: Path) -> Loaded:
        self.loads.append(path.name)
        text = (path / "saved_model.pb" if path.is_dir() else path).read_text()
        self.during()
        if text.startswith("broken"):
            raise UserError(f"it is {text}")
        engine = SimpleNamespace(signature=OTHER if text.startswith("other") else SIGNATURE)
        return Loaded(str(path), text, name_served_model(path, Settings()), engine)

    def say(self) -> None:
        self.said += self.reloader._unsaid
        self.reloader._unsaid.clear()

    def poll(self, times: int = 1) -> str:
        """The text of the version that answers after so many polls."""
        for _ in range(times):
            self.reloader.poll(self.route)
            self.say()
        return self.current.text

    @property
    def current(self) -> Loaded:
        version: Any = self.reloader.slot.current
        return version  # type: ignore[no-any-return]


def put(base: Path, version: int | str, text: str) -> Path:
    folder = base / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_text(text)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    put(tmp_path / "house", 1, "one")
    return tmp_path / "house"


def test_a_new_version_answers_once_two_polls_find_it_equal(base: Path) -> None:
    server = Server(base)
    first = server.current
    assert server.poll() == "one"
    put(base, 2, "half")
    assert server.poll() == "one"
    put(base, 2, "all of it")
    assert server.poll() == "one", "it has changed since the last poll"
    assert server.poll() == "all of it"
    assert (first.is_closed, server.current.is_closed, server.prepared) == (True, False, [server.current])
    assert server.said == [(LOADED, f"{base / '2'} is served now")]
    assert server.poll(5) == "all of it"
    assert server.loads == ["1", "2"], "it is loaded once"


def test_a_version_is_closed_after_its_last_request(base: Path) -> None:
    server = Server(base)
    first = server.current
    server.used.append(first)
    put(base, 2, "two")
    assert server.poll(3) == "two"
    assert not first.is_closed
    server.used.clear()
    server.poll()
    assert first.is_closed


@pytest.mark.parametrize(
    ("text", "reason"),
    [("broken", "it is broken"), ("other", "the input x: expected float32 [None], found float32 [None, 2]")],
)
def test_a_version_that_is_refused_is_told_once_and_tried_again_when_it_changes(
    base: Path, text: str, reason: str
) -> None:
    server = Server(base)
    put(base, 2, text)
    assert server.poll(5) == "one"
    assert server.said == [(REFUSED, f"{base / '2'} is not served: {reason}")]
    assert server.loads == ["1", "2"]
    assert server.current.slot.list_versions() == {"1": "", "2": reason}
    assert server.reloader.slot.count().refused == 1
    put(base, 2, "mended")
    assert server.poll(2) == "mended"
    assert server.current.slot.list_versions() == {"2": ""}


def test_a_newer_version_is_found_beside_one_that_is_refused(base: Path) -> None:
    server = Server(base)
    put(base, 3, "broken")
    put(base, 2, "two")
    assert server.poll(2) == "two"
    put(base, 4, "four")
    assert server.poll(2) == "four"


def test_a_version_that_changes_while_it_is_loaded_is_neither_served_nor_refused(base: Path) -> None:
    server = Server(base)
    for text in ("new", "broken"):
        put(base, 2, text)
        server.during = lambda: put(base, 2, "newer")
        assert server.poll(2) == "one"
        assert server.said == []
    server.during = lambda: None
    assert server.poll(2) == "newer"


@pytest.mark.parametrize("vanish", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("moved"))])
def test_a_version_that_vanishes_while_it_is_loaded_is_not_served(base: Path, vanish: Any) -> None:
    server = Server(base)
    put(base, 2, "two")
    server.during = lambda: vanish(base / "2")
    assert server.poll(4) == "one"
    assert server.said == []


def test_a_version_that_gets_another_number_while_it_is_loaded_is_served_by_that(base: Path) -> None:
    server = Server(base)
    put(base, 2, "two")

    def rename() -> None:
        server.during = lambda: None
        (base / "2").rename(base / "3")

    server.during = rename
    assert server.poll(2) == "one"
    assert server.poll(2) == "two"
    assert (server.current.path, server.said) == (str(base / "3"), [(LOADED, f"{base / '3'} is served now")])


def test_a_folder_of_a_version_may_be_a_link_that_is_switched(base: Path, tmp_path: Path) -> None:
    put(tmp_path, "elsewhere", "two")
    (base / "2").symlink_to(tmp_path / "elsewhere")
    server = Server(base)
    assert server.poll(3) == "two"
    put(tmp_path, "other", "three")
    (tmp_path / "new").symlink_to(tmp_path / "other")
    (tmp_path / "new").replace(base / "2")
    assert server.poll() == "two"
    assert server.poll() == "three"


def test_a_version_that_is_not_to_be_loaded_is_refused_without_a_load(base: Path) -> None:
    """What a rehearsal found; while the server starts, what was known before."""
    asked: list[tuple[str, bool]] = []

    def ask(path: Path, stamp: Stamp, rehearse: bool) -> str | None:
        asked.append((path.name, rehearse))
        return "it aborts" if "aborts" in (path / "saved_model.pb").read_text() and stamp else None

    put(base, 2, "aborts")
    server = Server(base, ask=ask)
    put(base, 3, "aborts as well")
    assert server.poll(3) == "one"
    assert (asked, server.loads) == ([("2", False), ("1", False), ("3", True)], ["1"])
    assert server.current.slot.list_versions() == {"1": "", "2": "it aborts", "3": "it aborts"}
    put(base, 3, "mended")
    assert server.poll(2) == "mended"


def test_without_its_newest_version_a_model_goes_back(base: Path) -> None:
    put(base, 2, "two")
    server = Server(base)
    assert server.poll(3) == "two"
    shutil.rmtree(base / "2")
    assert server.poll() == "two"
    assert server.poll() == "one"
    put(base, 0, "nought")
    assert server.poll(3) == "one", "an older version is no news"


def test_a_folder_that_is_replaced_is_gone_for_a_look_only(base: Path) -> None:
    put(base, 2, "two")
    server = Server(base)
    server.poll(2)
    (base / "2").rename(base / "old")
    assert server.poll() == "two"
    put(base, "new", "again").rename(base / "2")
    assert server.poll() == "two"
    assert server.poll() == "again"
    assert server.loads == ["2", "2"]


def test_what_is_loaded_goes_on_when_all_is_gone(base: Path) -> None:
    server = Server(base)
    server.poll()
    shutil.rmtree(base)
    assert server.poll(5) == "one"
    assert server.said == [(REFUSED, f"{base} holds no model any more; what is loaded goes on")]
    put(base, 3, "three")
    assert server.poll(2) == "three"


def test_a_folder_that_cannot_be_looked_at_is_told_once(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(base)
    put(base, 2, "two")
    with monkeypatch.context() as stale:
        stale.setattr(Path, "iterdir", fail_as_on_a_network)
        assert server.poll(3) == "one"
    assert server.said == [(REFUSED, f"{base} cannot be looked at: Stale file handle; what is loaded goes on")]
    assert server.poll(2) == "two"


def fail_as_on_a_network(_: Path) -> None:
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def test_versions_that_are_kept_are_the_newest_ones(base: Path) -> None:
    for number in (2, 3):
        put(base, number, f"v{number}")
    server = Server(base, keep=2)
    assert list(server.reloader.slot.versions) == ["3", "2"]
    put(base, 10, "ten")
    assert server.poll(2) == "ten"
    assert list(server.reloader.slot.versions) == ["10", "3"]
    assert server.current.slot.list_versions() == {"10": "", "3": ""}
    shutil.rmtree(base / "10")
    assert server.poll(3) == "v3"
    assert list(server.reloader.slot.versions) == ["3", "2"]


def test_at_the_start_the_newest_version_that_is_whole_is_served(base: Path) -> None:
    put(base, 2, "broken")
    server = Server(base)
    assert server.current.text == "one"
    assert server.said == [(REFUSED, f"{base / '2'} is not served: it is broken")]
    put(base, 1, "broken too")
    with pytest.raises(UserError, match=r"^it is broken$"):
        Server(base)


def test_a_file_that_is_replaced_in_place_is_read_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "house.pb"
    file.write_text("one")
    server = Server(file, "frozen_model")
    assert server.poll(2) == "one"
    with file.open("w") as writing:
        for part in ("a ", "longer ", "text"):
            writing.write(part)
            writing.flush()
            assert server.poll() == "one"
    assert server.poll() == "a longer text"
    file.unlink()
    assert server.poll(3) == "a longer text"


def test_a_link_that_is_switched_leads_to_another_version(tmp_path: Path) -> None:
    put(tmp_path, "a", "one")
    put(tmp_path, "b", "two")
    link = tmp_path / "current"
    link.symlink_to("a")
    server = Server(link)
    assert server.poll(3) == "one"

    def switch(target: str) -> None:
        (tmp_path / "new").symlink_to(target)
        (tmp_path / "new").replace(link)

    switch("b")
    assert server.poll(2) == "two"
    switch("a")
    server.during = lambda: switch("b")
    assert server.poll(4) == "two", "it was switched while it was loaded"
    assert all(kind == LOADED for kind, _ in server.said)


def test_a_fault_of_the_server_while_it_loads_is_shown_with_its_traceback(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(base)
    put(base, 2, "two")
    server.during = lambda: 1 // 0
    assert server.poll(3) == "one"
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert server.said == [(REFUSED, f"{base / '2'} is not served: integer division or modulo by zero")]
