"""The place of a model in the server: requests find there, by one reference, the version that answers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from serialization.serving.http.version import Version
from serialization.serving.metrics import ModelNumbers


class Slot:
    """A model by its name in URLs. `current` is replaced while requests come: read it once for each."""

    def __init__(self, *versions: Version) -> None:
        self.name = versions[0].served.name
        self.current = versions[0]
        self.names: Sequence[str] = [self.name]  # of all models of the server
        self.swaps = 0
        self.refused: Mapping[str, str] = {}  # why versions that are there are not served, by their numbers
        self.versions: Mapping[str, Version] = {}
        self.update(versions, {})

    def update(self, versions: Sequence[Version], refused: Mapping[str, str]) -> bool:
        """Give the first of these versions to the requests that come from now on; whether that is another one."""
        for version in versions:
            version.slot = self
        self.refused = refused
        self.versions = {version.served.version: version for version in versions}
        if versions[0] is self.current:
            return False
        self.current = versions[0]
        self.swaps += 1
        return True

    def list_versions(self) -> dict[str, str]:
        """The numbers of all versions: "" for one that is loaded, or why one is refused."""
        return {**self.refused, **dict.fromkeys(self.versions, "")}

    def count(self) -> ModelNumbers:
        """The numbers for the metrics."""
        return ModelNumbers(self.current.served.version, self.swaps, len(self.refused))
