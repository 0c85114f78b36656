"""The models that a server answers with: where each is, how it is opened, and how a worker loads all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from serialization.console import show_path
from serialization.errors import UserError
from serialization.files.beside import read_beside
from serialization.files.model_flags import EXPORTED_KINDS, find_model
from serialization.files.unpacking import list_unpacked, show_unpacked
from serialization.graph.op_registry import load_op_library
from serialization.run.predictor import give_sessions_own_threads
from serialization.runtimes.runtime import Runtime
from serialization.serving.http.rehearsal import Asker
from serialization.serving.limits import Settings
from serialization.serving.wire.protocol import name_served_model

if TYPE_CHECKING:
    from serialization.serving.http.predict_route import PredictRoute
    from serialization.serving.http.version import Version


class Opener(NamedTuple):
    """How a model of one kind is loaded.

    `open` takes what `find_model` has found, and returns what `compile` takes before the time limit: for TensorFlow, a
    session and the signature that it is run by.
    """

    open: Callable[..., tuple[Any, ...]]
    compile: Callable[..., Runtime]


class Source(NamedTuple):
    """A model that was found: its name in URLs, its kind, where it is, its path for people, what lies beside it."""

    name: str
    kind: str
    path: Path
    shown: str
    beside: dict[str, Any]


@dataclass(frozen=True)
class ServedModels:
    """The models of one server, the default one first. Workers get it pickled, and load what it tells.

    `openers` are by kind; those for TensorFlow are called with `how`. The `keep_versions` newest versions of each model
    are loaded; with `watch`, those to come too. `unpacked` are the folders of archives that another process unpacked.
    """

    sources: Sequence[Source]
    openers: Mapping[str, Opener]
    how: Mapping[str, Any] = field(default_factory=dict)
    op_library: Path | None = None
    watch: bool = False
    keep_versions: int = 1
    unpacked: Mapping[Path, Path] = field(default_factory=dict)

    @property
    def has_versions(self) -> bool:
        """Whether a source is the place of versions, and not the one model that was found there."""
        return self.watch or self.keep_versions > 1


def make_source(
    kind: str, path: Path, found: Any, name: str = "", *, versions: bool = False, shown: Path | None = None
) -> Source:
    """The model that was `found` at a path; its name in URLs is `name`. People are `shown` its path or another.

    With `versions`, those at the path are meant, now or later, and else the one that was found.
    """
    shown = shown or found.path
    if not versions:
        return Source(name, kind, found.path, show_path(shown), read_beside(shown))
    if list_unpacked():
        raise UserError(f"--watch and --keep-versions cannot look into the archive {show_path(path)}; unpack it")
    name = name or name_served_model(found.path, Settings()).name  # later versions get the same name
    return Source(name, kind, path, show_path(shown), read_beside(shown))


def load_route(models: ServedModels, settings: Settings, asker: Asker | None = None) -> PredictRoute:
    """Load the models, warm them up, and return the route that answers with them.

    New versions are rehearsed by the `asker`, if there is one.
    """
    from serialization.serving.app import make_predict_route, make_watching_route
    from serialization.serving.http.reload import Watched

    _prepare_process(models)
    loads = [partial(_load, models, settings, source) for source in models.sources]
    both = list(zip(models.sources, loads, strict=True))
    if not models.has_versions:
        return make_predict_route([partial(load, source.path) for source, load in both], settings)
    watched = [Watched(source.kind, source.path, load, models.keep_versions) for source, load in both]
    if asker:
        watched = [replace(one, ask=partial(asker.ask, i, one.kind)) for i, one in enumerate(watched)]
    return make_watching_route(watched, settings, reload=models.watch)


def rehearse(models: ServedModels, settings: Settings, model: int, path: Path) -> None:
    """Load the version at a path, of the model of this number, as `load_route` does, in a process of its own."""
    _prepare_process(models)
    _load(models, settings, models.sources[model], path)


def _prepare_process(models: ServedModels) -> None:
    show_unpacked(models.unpacked)
    give_sessions_own_threads()  # a session with one thread, for batches, would share the pool of the first
    load_op_library(models.op_library)


def _load(models: ServedModels, settings: Settings, source: Source, path: Path) -> Version:
    """The version at a path, ready to answer: one session for all its requests; many threads may run it at once."""
    from serialization.serving.app import load_version

    opener = models.openers[source.kind]
    opened = opener.open(find_model(source.kind, path), **({} if source.kind in EXPORTED_KINDS else models.how))
    run = opener.compile(*opened, settings.timeout)
    own = replace(settings, **source.beside, model_name=source.name or settings.model_name)
    return load_version(show_path(path) if models.has_versions else source.shown, run, own)
