"""The functions that TensorFlow 2 knows as signatures. tests/test_savedmodel_edit.py calls them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_checkpoint_from_savedmodel import Scaler

from serialization.errors import UserError
from serialization.formats import protos
from serialization.targets.edited_signatures import EditedSignature, choose_signatures, make_new_signature
from serialization.targets.signature_map import edit_signature_map
from serialization.tensorflow import tf


@pytest.fixture(scope="module")
def scaler(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("scaler")
    module = Scaler()
    tf.saved_model.save(module, str(folder), {"serving_default": module.scale, "center": module.center})
    return protos.SavedModel.FromString((Path(folder) / "saved_model.pb").read_bytes()).meta_graphs[0]


def edit(meta_graph: Any, *edited: EditedSignature) -> Any:
    copy = protos.MetaGraphDef()
    copy.CopyFrom(meta_graph)
    edit_signature_map(copy, edited)
    return copy


def list_signatures(meta_graph: Any) -> dict[str, str]:
    """The names of the functions, by the keys of the signatures."""
    nodes = meta_graph.object_graph_def.nodes
    (number,) = (child.node_id for child in nodes[0].children if child.local_name == "signatures")
    found = {child.local_name: nodes[child.node_id] for child in nodes[number].children}
    return {key: node.bare_concrete_function.concrete_function_name for key, node in found.items()}


def test_a_function_is_added_only_for_new_keys(scaler: Any) -> None:
    edited = choose_signatures(scaler, None, [("center", "middle")], [("serving_default:x", "rows")])
    copy = edit(scaler, *edited)
    before, after = list_signatures(scaler), list_signatures(copy)
    assert after["middle"] == before["center"]
    assert after["serving_default"] not in before.values()
    added = copy.graph_def.library.function[-1]
    assert added.signature.name == after["serving_default"]
    assert len(copy.graph_def.library.function) == len(scaler.graph_def.library.function) + 1
    assert copy.graph_def.node == scaler.graph_def.node
    bound = copy.object_graph_def.concrete_functions[added.signature.name].bound_inputs
    old = scaler.object_graph_def.concrete_functions[before["serving_default"]].bound_inputs
    assert sorted(bound) == sorted(old)
    assert copy.object_graph_def.nodes[-1].bare_concrete_function.argument_keywords == ["rows"]


def test_a_model_of_tensorflow_1_is_left_as_it_is(scaler: Any) -> None:
    plain = protos.MetaGraphDef()
    plain.CopyFrom(scaler)
    plain.ClearField("object_graph_def")
    assert edit(plain, *choose_signatures(plain, None, (), [("x", "rows")])) == plain


def test_what_tensorflow_2_does_not_see_it_does_not_see_after(scaler: Any) -> None:
    copy = protos.MetaGraphDef()
    copy.CopyFrom(scaler)
    copy.signature_def["hidden"].CopyFrom(scaler.signature_def["center"])
    edited = edit(copy, *choose_signatures(copy, ["hidden", "center"], (), [("hidden:x", "rows")]))
    assert list_signatures(edited).keys() == {"center"}


def test_the_map_is_added_where_there_is_none(scaler: Any) -> None:
    copy = protos.MetaGraphDef()
    copy.CopyFrom(scaler)
    children = copy.object_graph_def.nodes[0].children
    kept = [child for child in children if child.local_name != "signatures"]
    del children[:]
    children.extend(kept)
    new = make_new_signature("new", scaler.signature_def["center"], ())
    assert list_signatures(edit(copy, new)).keys() == {"new"}


def test_a_variable_that_no_object_holds_is_named(scaler: Any) -> None:
    copy = protos.MetaGraphDef()
    copy.CopyFrom(scaler)
    copy.graph_def.node.add(name="alone", op="VarHandleOp").attr["dtype"].type = 1
    copy.graph_def.node.add(name="read", op="ReadVariableOp", input=["alone"]).attr["dtype"].type = 1
    definition = protos.SignatureDef()
    definition.outputs["y"].name = "read:0"
    with pytest.raises(UserError, match="the signature new needs alone, which no object of the SavedModel holds"):
        edit(copy, make_new_signature("new", definition, ()))


def test_two_keys_of_one_tensor_are_refused(scaler: Any) -> None:
    definition = protos.SignatureDef()
    definition.CopyFrom(scaler.signature_def["center"])
    definition.inputs["again"].CopyFrom(definition.inputs["x"])
    with pytest.raises(UserError, match="or two keys for one tensor"):
        edit(scaler, make_new_signature("new", definition, ()))
