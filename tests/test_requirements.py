"""The locks: one exact version of everything for each Python, inside the ranges, with hashes."""

from __future__ import annotations

import re
from importlib import metadata

import pytest
from conftest import PROJECT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK, SERVE_LOCK = ((PROJECT / name).read_text() for name in ("requirements.lock", "requirements-serve.lock"))
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
ADVICE = "; run `make lock` and commit requirements.lock and requirements-serve.lock"
both_locks = pytest.mark.parametrize("lock", [LOCK, SERVE_LOCK], ids=["requirements.lock", "requirements-serve.lock"])


def read_ranges(name: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in (PROJECT / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-r ")]


def read_pins(python: str, lock: str = LOCK) -> dict[str, str]:
    """The version of each package that a lock has for a Python on Linux. No package has two."""
    here = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}
    found: dict[str, str] = {}
    for line in re.findall(r"^(\w[^\\\n]*)", lock, re.MULTILINE):
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate(here):
            assert pin.name not in found, f"{pin.name} is pinned twice for Python {python}{ADVICE}"
            ((operator, version),) = [(s.operator, s.version) for s in pin.specifier]
            assert operator == "==", f"{line} is no exact version{ADVICE}"
            found[canonicalize_name(pin.name)] = version
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-export.txt", "requirements-grpc.txt", "requirements-dev.txt"]
)
def test_the_lock_is_within_the_ranges(name: str, python: str) -> None:
    require_within(name, python, read_pins(python))


def require_within(name: str, python: str, pins: dict[str, str]) -> None:
    for wanted in read_ranges(name):
        version = pins.get(canonicalize_name(wanted.name))
        assert version is not None, f"{wanted.name} of {name} is not pinned for Python {python}{ADVICE}"
        assert wanted.specifier.contains(version), f"pinned is {version}, {name} has {wanted}{ADVICE}"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_of_the_server_has_the_versions_of_the_other(python: str) -> None:
    """But for Pillow, which stands in for TensorFlow."""
    tested, served = read_pins(python), read_pins(python, SERVE_LOCK)
    require_within("requirements-serve.txt", python, served)
    assert {name: tested.get(name) for name in served.keys() - {"pillow"}} == {
        name: version for name, version in served.items() if name != "pillow"
    }, ADVICE
    assert "tensorflow" not in served


@both_locks
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_is_whole(python: str, lock: str) -> None:
    """What the pinned packages need is pinned too, as far as these versions are installed here."""
    pins = read_pins(python, lock)
    here = {"python_version": python, "python_full_version": f"{python}.1", "extra": ""}
    known = [dist for dist in metadata.distributions() if pins.get(canonicalize_name(dist.name)) == dist.version]
    assert known, "none of the pinned versions is installed; `make test` installs them"
    for dist in known:
        for needed in map(Requirement, dist.requires or ()):
            if needed.marker is None or needed.marker.evaluate(here):
                version = pins.get(canonicalize_name(needed.name))
                assert version is not None, f"{dist.name} needs {needed}, which is not pinned{ADVICE}"
                assert needed.specifier.contains(version), f"{dist.name} needs {needed}, pinned is {version}{ADVICE}"


def test_the_server_without_tensorflow_has_the_ranges_of_the_others() -> None:
    """But for what TensorFlow brings along, and for Pillow, which stands in for it."""
    others = {one.name: one for name in ("requirements.txt", "requirements-export.txt") for one in read_ranges(name)}
    alone = {one.name: one for one in read_ranges("requirements-serve.txt")}
    assert alone.keys() - others.keys() == {"ml_dtypes", "pillow"}
    assert "tensorflow" not in alone
    for name in alone.keys() & others.keys():
        assert alone[name].specifier == others[name].specifier, name


@both_locks
def test_every_pin_has_hashes_and_names_no_registry(lock: str) -> None:
    entries = re.split(r"^(?=\w)", lock, flags=re.MULTILINE)[1:]
    assert len(entries) >= len(read_pins("3.13", lock))
    for entry in entries:
        assert re.search(r"^    --hash=sha256:[0-9a-f]{64}", entry, re.MULTILINE), entry.partition("\n")[0]
    assert not re.search(r"://|^-|/", lock, re.MULTILINE), "an address or a path would not hold elsewhere"
