"""Inputs and outputs by their keys: of flags, of a SignatureDef, of a graph."""

from __future__ import annotations

from typing import Any

import pytest

from serialization.errors import UserError
from serialization.formats import protos
from serialization.graph.signature import (
    Signature,
    Tensor,
    bind_signature,
    build_signature_def,
    choose_signature_def,
    explain_difference,
    make_signature,
    read_signature_def,
    show_shape,
    split_tensors,
)
from serialization.tensorflow import tf, tf1


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("  ", []),
        ("x", [("x", "x:0")]),
        ("x:0", [("x", "x:0")]),
        ("x:1", [("x:1", "x:1")]),
        (" a , b=scope/c:2 ", [("a", "a:0"), ("b", "scope/c:2")]),
        ("a=b=c", [("a=b", "c:0")]),
    ],
)
def test_tensors_are_split_into_keys_and_names(text: str, pairs: list[tuple[str, str]]) -> None:
    assert split_tensors(text) == pairs


@pytest.mark.parametrize("text", ["x,", ",", "=x", "x:", "x:a", ":0", "x:-1", "k="])
def test_text_that_names_no_tensor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected NAME or KEY=NAME, comma separated, got '.*' in "):
        split_tensors(text)


@pytest.mark.parametrize("text", ["x,x:0", "k=a,k=b"])
def test_two_tensors_cannot_have_one_key(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^two tensors have the key \w in .*; give them different ones with KEY=NAME$"
    ):
        split_tensors(text)


def test_shapes_are_shown_as_tensorflow_writes_them() -> None:
    assert [show_shape(shape) for shape in (None, (), (None, 10))] == ["unknown", "[]", "[None, 10]"]
    assert str(Tensor("k", "x:0", "float32", (None, 10))) == "x:0 float32 [None, 10]"


@pytest.fixture(scope="module")
def graph() -> Any:
    with tf1.Graph().as_default() as built:
        x = tf1.placeholder(tf.float32, [None, 4], name="features")
        tf.identity(x, name="scores")
        tf1.placeholder(tf.string, None, name="text")
    return built


SIGNATURE = Signature(
    (Tensor("x", "features:0", "float32", (None, 4)),), (Tensor("scores", "scores:0", "float32", (None, 4)),)
)


def test_a_signature_has_the_dtypes_and_shapes_of_the_graph(graph: Any) -> None:
    assert make_signature(graph, "x=features", "scores") == SIGNATURE
    assert make_signature(graph, "text", "").inputs == (Tensor("text", "text:0", "string", None),)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("featuers", "no tensor featuers:0 in the graph; the nearest are features:0"),
        ("scores:1", "no tensor scores:1 in the graph; the nearest are scores:0"),
        ("zzz", "no tensor zzz:0 in the graph; none of its 3 tensors has a similar name"),
    ],
)
def test_a_name_that_is_not_there_is_answered_with_the_nearest(graph: Any, name: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        make_signature(graph, name, "scores")
    assert str(caught.value).startswith(line)


def test_below_a_scope_names_are_given_without_it(graph: Any) -> None:
    with tf1.Graph().as_default() as imported:
        tf1.import_graph_def(graph.as_graph_def(), name="prefix")
    found = bind_signature(imported, SIGNATURE, "prefix")
    assert found == make_signature(imported, "x=features", "scores", "prefix")
    assert [tensor.name for tensor in (*found.inputs, *found.outputs)] == ["prefix/features:0", "prefix/scores:0"]
    with pytest.raises(UserError, match=r"^no tensor score:0 in the graph; the nearest are scores:0"):
        make_signature(imported, "", "score", "prefix")


def test_a_signature_def_comes_back(graph: Any) -> None:
    with graph.as_default():
        definition = build_signature_def(graph, SIGNATURE)
    assert definition.method_name == "tensorflow/serving/predict"
    assert read_signature_def(definition) == SIGNATURE


def test_sparse_and_composite_tensors_are_read_in_their_parts() -> None:
    definition = protos.SignatureDef()
    definition.inputs["z"].name, definition.inputs["z"].dtype = "z:0", 1
    definition.inputs["z"].tensor_shape.unknown_rank = True
    sparse = definition.inputs["a"]
    sparse.dtype = 3
    sparse.coo_sparse.indices_tensor_name, sparse.coo_sparse.values_tensor_name = "i:0", "v:0"
    sparse.coo_sparse.dense_shape_tensor_name = "s:0"
    definition.inputs["r"].composite_tensor.components.add(name="flat:0", dtype=7).tensor_shape.dim.add(size=-1)
    definition.inputs["r"].composite_tensor.components.add(name="splits:0", dtype=9).tensor_shape.dim.add(size=2)
    assert [(t.key, str(t)) for t in read_signature_def(definition).inputs] == [
        ("a/indices", "i:0 int64 [None, None]"),
        ("a/values", "v:0 int32 [None]"),
        ("a/dense_shape", "s:0 int64 [None]"),
        ("r/0", "flat:0 string [None]"),
        ("r/1", "splits:0 int64 [2]"),
        ("z", "z:0 float32 unknown"),
    ]


@pytest.mark.parametrize(
    ("there", "key", "chosen"),
    [
        (["own"], None, "own"),
        (["own", "__saved_model_init_op"], None, "own"),
        (["a", "serving_default"], None, "serving_default"),
        (["a", "b"], "b", "b"),
    ],
)
def test_the_only_signature_is_chosen_else_serving_default(there: list[str], key: str | None, chosen: str) -> None:
    meta_graph = protos.MetaGraphDef(signature_def={name: {"method_name": name} for name in there})
    assert choose_signature_def(meta_graph, key).method_name == chosen


@pytest.mark.parametrize(
    ("there", "key", "line"),
    [
        (["a", "b"], None, "the SavedModel has no signature serving_default; it has a, b; choose with --signature"),
        (["b"], "a", "the SavedModel has no signature a; it has b; choose with --signature"),
        (
            ["__saved_model_init_op"],
            None,
            "the SavedModel has no signature; found no function to call; save it again with one: "
            "tf.saved_model.save(model, folder, signatures=function)",
        ),
    ],
)
def test_a_signature_that_is_not_there_is_one_line(there: list[str], key: str | None, line: str) -> None:
    with pytest.raises(UserError) as caught:
        choose_signature_def(protos.MetaGraphDef(signature_def={name: {} for name in there}), key)
    assert str(caught.value) == line


def test_a_tensors_name_may_leave_out_its_output() -> None:
    signature_def = protos.SignatureDef()
    signature_def.inputs["x"].name, signature_def.outputs["y"].name = "x", "scope/y:1"
    signature = read_signature_def(signature_def)
    assert [tensor.name for tensor in (*signature.inputs, *signature.outputs)] == ["x:0", "scope/y:1"]
    for name in ("", "^x", ":0", "x:y", "x:0:0", "x:-1"):
        signature_def.outputs["y"].name = name
        with pytest.raises(UserError, match="is no name of a tensor; name --inputs and --outputs"):
            read_signature_def(signature_def)


def make_pair(dtype: str = "float32", shape: tuple[int | None, ...] | None = (None,), **how: Any) -> Signature:
    x, y = Tensor("x", "x:0", dtype, shape), Tensor("y", "y:0", "int32", (None,))
    return Signature(how.pop("inputs", (x,)), how.pop("outputs", (y,)), **how)


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (make_pair(), None),
        (make_pair(inputs=(Tensor("x", "layer/x:0", "float32", (None,)),)), None),
        (make_pair("float64"), "the input x: expected float32 [None], found float64 [None]"),
        (make_pair(shape=(None, 2)), "the input x: expected float32 [None], found float32 [None, 2]"),
        (make_pair(shape=None), "the input x: expected float32 [None], found float32 unknown"),
        (
            make_pair(inputs=(Tensor("x", "x:0", "float32", (None,), b"1"),)),
            "the input x: expected float32 [None], found float32 [None] with a default",
        ),
        (make_pair(outputs=(Tensor("z", "y:0", "int32", (None,)),)), "expected the outputs y, found z"),
        (
            make_pair(key="other"),
            "expected the signature serving_default (tensorflow/serving/predict), "
            "found other (tensorflow/serving/predict)",
        ),
        (
            make_pair(method="tensorflow/serving/classify"),
            "expected the signature serving_default (tensorflow/serving/predict), "
            "found serving_default (tensorflow/serving/classify)",
        ),
    ],
)
def test_callers_of_one_model_can_call_another_of_the_same_form(other: Signature, difference: str | None) -> None:
    assert explain_difference(other, make_pair()) == difference
