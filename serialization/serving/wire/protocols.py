"""The wire protocols beside that of /api/predict: each is registered here, and nowhere else."""

from __future__ import annotations

from serialization.graph.signature import Signature
from serialization.serving.limits import Settings
from serialization.serving.wire.protocol import HttpProtocol, ServedModel
from serialization.serving.wire.tfs_rest import TensorFlowServing
from serialization.serving.wire.v2_protocol import OpenInference

_PROTOCOLS = (TensorFlowServing, OpenInference)


def make_protocols(served: ServedModel, signature: Signature, settings: Settings) -> tuple[HttpProtocol, ...]:
    """All protocols, for one model."""
    return tuple(make(served, signature, settings) for make in _PROTOCOLS)
