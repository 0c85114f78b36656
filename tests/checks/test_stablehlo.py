"""Modules of StableHLO may call what compilers emit, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from serialization.checks.stablehlo import find_foreign_call
from serialization.formats import protos
from serialization.tensorflow import import_quietly


def make_module(*targets: str) -> bytes:
    """The binary form of a module that calls these targets."""
    stablehlo = import_quietly("tensorflow.compiler.mlir.stablehlo.stablehlo")
    calls = [
        f'%{number + 1} = stablehlo.custom_call @"{target}"(%{number}) : (tensor<2xf32>) -> tensor<2xf32>'
        for number, target in enumerate(targets)
    ]
    text = "\n".join(
        (
            "module { func.func public @main(%0: tensor<2xf32>) -> tensor<2xf32> {",
            *calls,
            f"return %{len(targets)} : tensor<2xf32> }} }}",
        )
    )
    return bytes(stablehlo.serialize_portable_artifact_str(text, stablehlo.get_current_version()))


def find(module: bytes) -> str | None:
    node: Any = protos.NodeDef(name="y", op="XlaCallModule")
    node.attr["module"].s = module
    return find_foreign_call(node)


def test_arithmetic_calls_nothing() -> None:
    assert find(make_module()) is None


@pytest.mark.parametrize("target", ["Sharding", "SPMDFullToShardShape", "shape_assertion", "tf.call_tf_function"])
def test_what_compilers_emit_is_allowed(target: str) -> None:
    assert find(make_module(target, "Sharding")) is None


@pytest.mark.parametrize("target", ["system", "xla_python_cpu_callback", "Shard ing", "Shard\\22ing"])
def test_another_target_is_refused(target: str) -> None:
    assert str(find(make_module("Sharding", target))).startswith("custom_call ")


def test_a_name_that_looks_like_a_call_is_refused() -> None:
    assert find(make_module("Sharding", "x) custom_call @Sharding(")) is not None


def test_what_cannot_be_read_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert find(b"ML\xefR custom_call") == "custom_call"
    assert find(b"module {}") == "a module that is not in the binary form"
    assert find(b"") == "a module that is not in the binary form"
    placed: Any = protos.NodeDef(name="y", op="XlaCallModule")
    placed.attr["module"].placeholder = "module"
    assert find_foreign_call(placed) == "a module that is not in the binary form"
    assert capfd.readouterr().err == ""
