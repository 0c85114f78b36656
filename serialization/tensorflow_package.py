"""The package tensorflow without its __init__.py, which executes 2,600 modules: a session on a graph takes 600.

TensorFlow's public names are import lines in the files of its packages. `find_public_name` reads there in which module
a name is defined, so that only this module is imported, and those that it imports itself. Until then the package lies
in sys.modules, not executed; once another program asks for one of its attributes, it is.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

_PYTHON = "tensorflow.python."
# What a session needs, in this order, for they import each other.
_SESSIONS = ("tensorflow.python.client.session", "tensorflow.python.framework.importer")
_FOR_SESSIONS = ("framework.", "client.", "grappler.", "proto_exports")
# They register how collections of graphs are read; without them these are left as bytes.
_COLLECTIONS = ("ops.ref_variable", "training.saver", "training.queue_runner_impl")
_FOR_LOADING = (
    *("training.saver", "training.py_checkpoint_reader", "saved_model.loader_impl", "ops.gen_", "ops.array_ops"),
    *("ops.image_ops_impl", "ops.check_ops", "ops.control_flow_ops", "ops.batch_ops"),
)
# It registers what all others may need: gradients, variables, operators on tensors.
_ALL_OPS = ("ops.standard_ops",)
# The only op that the library itself lacks, and __init__.py loads.
_OPS = "lite/experimental/microfrontend/python/ops/_audio_microfrontend_op.so"
_LAID = "__getattr__"  # the function that executes the package
_PLUGINS = "tensorflow-plugins"  # a folder beside the package, with devices and kernels that __init__.py loads


def import_part(name: str) -> Any:
    """The module of TensorFlow with this full name. The one called tensorflow is executed whole."""
    if "tensorflow" not in sys.modules and not _has_plugins():
        _lay_package()
    package = import_module("tensorflow")
    if name == "tensorflow":
        return _execute(package)
    if _LAID in vars(package):
        for first in _list_first(name):
            import_module(first)
        _behave_as_executed()
    return import_module(name)


def find_public_name(package: str, name: str) -> tuple[str, str] | None:
    """The module that defines a public name of this package of TensorFlow's, and the name there.

    The module is a package of public names where the name is that of one. None if no line has the name.
    """
    if not is_public(package):
        return None
    found = re.search(rf"(?m)^from (\S+) import (?:(\w+) as )?{re.escape(name)}(?: #|$)", _read_package(package))
    return (found[1], found[2] or name) if found else None


def is_public(package: str) -> bool:
    """Whether this is a package of public names."""
    return package == "tensorflow" or package.startswith("tensorflow._api.")


def _list_first(name: str) -> Iterator[str]:
    """The modules to import before this one, which may need what they register."""
    part = name.removeprefix(_PYTHON)
    yield from _SESSIONS
    if not part.startswith(_FOR_SESSIONS):
        registering = _COLLECTIONS if part.startswith(_FOR_LOADING) else (*_ALL_OPS, *_COLLECTIONS)
        yield from (_PYTHON + module for module in registering)


@cache
def _read_package(package: str) -> str:
    _, *parts = package.split(".")
    return _find_folder().joinpath(*parts, "__init__.py").read_text()


def _find_folder() -> Path:
    return Path(_find_spec().submodule_search_locations[0])


def _find_spec() -> Any:
    spec = PathFinder.find_spec("tensorflow")  # not importlib.util's, which announces an import to cli.run's finder
    if spec is None:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    return spec


def _has_plugins() -> bool:
    return (_find_folder().parent / _PLUGINS).exists() or "TF_PLUGGABLE_DEVICE_LIBRARY_PATH" in os.environ


def _lay_package() -> None:
    package = sys.modules["tensorflow"] = module_from_spec(_find_spec())
    vars(package)[_LAID] = lambda name: getattr(_execute(package), name)


def _execute(package: Any) -> Any:
    """The package, which is executed now if it only lies there."""
    if vars(package).pop(_LAID, None):
        package.__spec__.loader.exec_module(package)
    return package


@cache
def _behave_as_executed() -> None:
    """What __init__.py does beside its imports, once the modules of sessions are imported."""
    os.environ["TF2_BEHAVIOR"] = "1"
    import_module("tensorflow.python.compat.v2_compat").enable_v2_behavior()
    import_module("tensorflow.python.framework.load_library").load_op_library(str(_find_folder() / _OPS))
