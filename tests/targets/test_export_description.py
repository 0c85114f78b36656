"""What an exporter writes down about a model, and the step that follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import exported_models
import msgspec
import pytest

from serialization.files.locate import find_frozen_model
from serialization.graph.signature import Signature, Tensor
from serialization.sources.from_frozen import prepare_frozen_model
from serialization.sources.frozen_reader import read_graph_file
from serialization.targets.export_description import describe_export, format_next
from serialization.tensorflow import tf


def describe(file: Path, *, inputs: str, defaults: dict[str, bytes] | None = None, **how: Any) -> Any:
    ready = prepare_frozen_model(read_graph_file(find_frozen_model(file)), inputs, "y")
    known = [replace(tensor, default=(defaults or {}).get(tensor.key)) for tensor in ready.signature.inputs]
    ready = replace(ready, signature=replace(ready.signature, inputs=tuple(known)))
    names = {tensor.name: tensor.key for tensor in ready.signature.inputs}
    return msgspec.json.decode(describe_export(ready, names, ["y"], ["cat"], **how))


@pytest.mark.parametrize(
    ("kind", "independent", "bounded"), [("images", True, True), ("loop", False, False), ("random", False, False)]
)
def test_rows_are_judged_as_the_server_judges_them(tmp_path: Path, kind: str, independent: bool, bounded: bool) -> None:
    found = describe(exported_models.write(getattr(exported_models, kind), tmp_path / "m"), inputs="x", compared=True)
    assert (found["rows_are_independent"], found["time_is_bounded"]) == (independent, bounded)
    assert (found["labels"], found["difference"]) == (["cat"], {"absolute": 0.0001, "relative": 0.001})


def test_a_conversion_may_mix_rows(tmp_path: Path) -> None:
    file = exported_models.write(exported_models.images, tmp_path / "m")
    found = describe(file, inputs="x", compared=False, keeps_rows=False)
    assert (found["rows_are_independent"], found["time_is_bounded"], "difference" in found) == (False, True, False)


def test_shapes_are_those_that_tensorflow_infers_and_defaults_are_kept(tmp_path: Path) -> None:
    file = exported_models.write(exported_models.with_default, tmp_path / "m")
    default = tf.make_tensor_proto(2.0).SerializeToString()
    found = describe(file, inputs="x,k", compared=True, defaults={"k": default})
    assert [tensor["shape"] for tensor in (*found["inputs"], *found["outputs"])] == [[None, 3], [], [None, 3]]
    assert ["default" in tensor for tensor in found["inputs"]] == [False, True]


def test_the_server_comes_next_where_there_is_something_to_feed() -> None:
    x, y = (Tensor(key, key, "float32", ()) for key in "xy")
    assert format_next("--onnx", Path("m.onnx"), Signature((x,), (y,))).endswith("freezemodel_serve.py --onnx m.onnx")
    assert format_next("--onnx", Path("m.onnx"), Signature((), (y,))).endswith("model_inspect.py m.onnx")
