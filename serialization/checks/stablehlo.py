"""Tells whether a module of StableHLO calls code beside its own arithmetic.

Such a call is an op `custom_call`, with the name of a target. In the binary form of MLIR the name of an op stands as it
is; the text form may escape it, and no compiler of a model writes that.
"""

from __future__ import annotations

import re
from typing import Any

from serialization.console import make_printable
from serialization.tensorflow import import_quietly, quiet, tf

_BINARY = b"ML\xefR"
# What the compilers of JAX and TensorFlow emit: marks for XLA's own passes, and functions of the graph, which are
# scanned like any other.
_TARGETS = {
    *("Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "LayoutConstraint", "annotate_device_placement"),
    *("MoveToHost", "MoveToDevice", "shape_assertion", "ApproxTopK", "PartialReduce", "TopK", "mhlo.topk", "mhlo.erf"),
    *("stablehlo.dynamic_approx_top_k", "stablehlo.dynamic_reduce_window", "stablehlo.dynamic_rng_bit_generator"),
    "tf.call_tf_function",
}
_TARGET = re.compile(
    r'call_target_name = (?:#vhlo\.string_v1<)?("(?:[^"\\]|\\.)*")|custom_call @("(?:[^"\\]|\\.)*"|[\w.$-]+)'
)


def find_foreign_call(node: Any) -> str | None:
    """None if an XlaCallModule calls nothing but what compilers emit; else what it calls."""
    module = node.attr["module"].s if "module" in node.attr else b""
    if not module.startswith(_BINARY):
        return "a module that is not in the binary form"
    if b"custom_call" not in module:
        return None
    text = _show_module(module)
    found = _TARGET.findall(text)
    if len(found) != text.count("custom_call"):
        return "custom_call"
    foreign = sorted({(quoted or plain).strip('"') for quoted, plain in found} - _TARGETS)
    return f"custom_call {make_printable(foreign[0])}" if foreign else None


def _show_module(module: bytes) -> str:
    """The text form. TensorFlow has no public call for it; tests/checks/test_stablehlo.py fails when it changes."""
    pywrap_mlir = import_quietly("tensorflow.python.pywrap_mlir")
    with quiet():
        try:
            return str(pywrap_mlir.ExperimentalRunPassPipeline(module, "", False))
        except tf.errors.OpError:
            return "custom_call"  # it cannot be read
