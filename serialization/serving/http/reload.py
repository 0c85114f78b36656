"""Has a served model follow the files at its path: a version that appears, or changes, is loaded and takes over.

Nothing tells when a version is whole. So a poll looks at the files each second, and takes a version that two polls in a
row have found equal, that can be loaded, and that has not changed meanwhile.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serialization.checks.confinement import explain_error
from serialization.console import show_path
from serialization.errors import UserError
from serialization.files.model_names import read_version
from serialization.files.stamps import Stamp, list_watched_versions, take_stamp
from serialization.graph.signature import explain_difference
from serialization.serving.http.slot import Slot
from serialization.serving.http.worker import LOADED, REFUSED
from serialization.serving.requests import print_exception

if TYPE_CHECKING:
    from serialization.serving.http.predict_route import PredictRoute
    from serialization.serving.http.version import Version

POLL = 1.0  # seconds
_LIBC = ctypes.CDLL(None)
_ARENA_MAX = -8, 2  # mallopt(3): M_ARENA_MAX. By default eight a processor, each with gaps where a version was.

Say = Callable[[str, str], None]
"""Tells people of an event: its kind, and a line."""
Ask = Callable[[Path, Stamp, bool], "str | None"]


@dataclass(frozen=True)
class Watched:
    """The path that a flag names, the kind of model there, and the function that loads a version of it.

    `keep` is the number of versions that are loaded at a time, the newest ones. `ask` gives a reason not to load a
    version, which is rehearsed if its last argument is true; else a reason that was known when this worker started.
    """

    kind: str
    path: Path
    load: Callable[[Path], Version]
    keep: int = 1
    ask: Ask = lambda *_: None


class Reloader:
    """Loads the versions of one model. `slot` is its place in the server.

    Raises UserError if none can be loaded at the start.
    """

    def __init__(self, watched: Watched) -> None:
        _LIBC.mallopt(*_ARENA_MAX)
        self._watched = watched
        self._rehearses = False  # a server that starts has no requests to lose
        self._loaded: dict[Path, tuple[Stamp, Version]] = {}
        self._refused: dict[Path, tuple[Stamp, str]] = {}
        self._seen: dict[Path, Stamp] = {}  # by the last poll
        self._retired: list[Version] = []  # requests may still have them
        self._is_gone = False
        self._has_garbage = False
        self._unsaid: list[tuple[str, str]] = []
        for path in reversed(list_watched_versions(watched.kind, watched.path) or [watched.path]):
            self._try(path, take_stamp(watched.kind, path))
            if len(self._loaded) == watched.keep:
                break
        if not self._loaded:
            raise UserError(next((why for _, why in self._refused.values()), "the model changed while it was loaded"))
        self.slot = Slot(*(version for _, version in self._loaded.values()))
        self._update(list(self._loaded))
        self._rehearses = True

    def run(self, route: PredictRoute, say: Say, seconds: float = POLL) -> None:
        """Poll until the server ends."""
        while not route.draining:
            try:
                self.poll(route)
                while self._unsaid:
                    say(*self._unsaid.pop(0))
            except Exception:  # the versions that are loaded go on
                print_exception("the watch for new versions")
            time.sleep(seconds)

    def poll(self, route: PredictRoute) -> None:
        """Look at the files, load what is new, and give it to the requests that come from now on."""
        kind, place = self._watched.kind, self._watched.path
        try:
            stamps = {path: take_stamp(kind, path) for path in list_watched_versions(kind, place)}
        except OSError as error:  # of a network's file system, for example
            self._tell_once(f"cannot be looked at: {error.strerror}")
            return
        # A version that is gone for a single look is being replaced.
        there = sorted({*stamps, *(path for path in self._loaded if path in self._seen)}, key=_get_number)
        good: list[Path] = []
        for path in reversed(there):
            stamp = stamps.get(path, ())
            if self._is_new(path, stamp) and stamp == self._seen.get(path) and self._try(path, stamp):
                route.prepare(self._loaded[path][1])
            if path in self._loaded:
                good.append(path)
            if len(good) == self._watched.keep:
                break
        self._seen = stamps
        self._refused = {path: why for path, why in self._refused.items() if path in there}
        if good:
            self._is_gone = False
        else:
            self._tell_once("holds no model any more")
        self._update(good or list(self._loaded))
        self._clean_up(route)

    def _tell_once(self, why: str) -> None:
        """Say why no version is found, unless it was said since there was one."""
        if not self._is_gone:
            self._unsaid.append((REFUSED, f"{show_path(self._watched.path)} {why}; what is loaded goes on"))
        self._is_gone = True

    def _is_new(self, path: Path, stamp: Stamp) -> bool:
        """Whether this state of the files is neither loaded nor refused."""
        return bool(stamp) and stamp not in (self._loaded.get(path, ((),))[0], self._refused.get(path, ((),))[0])

    def _try(self, path: Path, stamp: Stamp) -> bool:
        """Load a version, and return whether it is loaded now.

        It is refused if it is broken, could do harm, or has another signature than those that are loaded.
        """
        self._has_garbage = True
        version = fault = None
        try:
            fault = self._watched.ask(path, stamp, self._rehearses)
            if fault is None:
                version = self._watched.load(path)
                others = [other.engine.signature for _, other in self._loaded.values()]
                fault = explain_difference(version.engine.signature, others[0]) if others else None
        except Exception as error:
            fault = explain_error(error)
            if not isinstance(error, (UserError, OSError)):
                print_exception(f"loading {show_path(path)}")
        changed = take_stamp(self._watched.kind, path) != stamp  # then it may be half old and half new
        if version is not None and fault is None and not changed:
            self._refused.pop(path, None)
            if path in self._loaded:
                self._retired.append(self._loaded[path][1])
            self._loaded[path] = stamp, version
            return True
        if version is not None:
            version.close()
        if fault is not None and not changed:
            self._refused[path] = stamp, fault
            self._unsaid.append((REFUSED, f"{show_path(path)} is not served: {fault}"))
        return False

    def _update(self, good: list[Path]) -> None:
        """Have requests find these versions, the newest first; the others retire."""
        for path in [path for path in self._loaded if path not in good]:
            self._retired.append(self._loaded.pop(path)[1])
        versions = [self._loaded[path][1] for path in good]
        refused = {str(_get_number(path)): why for path, (_, why) in self._refused.items()}
        if self.slot.update(versions, refused):
            self._unsaid.append((LOADED, f"{versions[0].path} is served now"))

    def _clean_up(self, route: PredictRoute) -> None:
        """Close the versions that no request has any more, and give back the memory of what was loaded and is not used.

        A worker freezes what is there when it begins (gc.freeze), and would keep the first graph for ever.
        """
        unused = [version for version in self._retired if not route.uses(version)]
        self._retired = [version for version in self._retired if version not in unused]
        self._has_garbage |= bool(unused)
        while unused:  # so that nothing here refers to them afterwards
            unused.pop().close()
        if self._has_garbage:
            self._has_garbage = False
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            _LIBC.malloc_trim(0)


def _get_number(path: Path) -> int:
    """The number of a version, 1 for a model without numbers, as its URLs have it."""
    number = read_version(path)
    return 1 if number is None else number
