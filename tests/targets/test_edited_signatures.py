"""Which signatures are kept, and by which keys. tests/test_savedmodel_edit.py has the errors and the methods."""

from __future__ import annotations

from typing import Any

import pytest

from serialization.errors import UserError
from serialization.formats import protos
from serialization.graph.signature import Signature, Tensor
from serialization.targets.edited_signatures import call_by, choose_signatures, describe_signature, make_new_signature


def make_meta_graph(**signatures: str) -> Any:
    """A MetaGraphDef of signatures, each as `x,y>z`: its inputs and outputs, all float32."""
    meta_graph = protos.MetaGraphDef()
    for key, text in signatures.items():
        one = meta_graph.signature_def[key]
        for side, names in zip((one.inputs, one.outputs), text.split(">"), strict=True):
            for name in filter(None, names.split(",")):
                side[name].name, side[name].dtype = f"{name}:0", 1
    meta_graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = "init"
    return meta_graph


def test_all_are_kept_but_ops_that_loading_runs() -> None:
    edited = choose_signatures(make_meta_graph(a="x>y", b=">z"), None)
    assert [(one.source, one.key, one.is_rekeyed, one.is_plain) for one in edited] == [
        ("a", "a", False, True),
        ("b", "b", False, True),
    ]
    assert [describe_signature(one) for one in edited] == [
        ("a", "a", "none", "x", "y"),
        ("b", "b", "none", "none", "z"),
    ]


def test_keys_are_renamed_everywhere_or_in_one_signature() -> None:
    meta_graph = make_meta_graph(a="x,y>z", b="x>y")
    meta_graph.signature_def["a"].defaults["y"].dtype = 1
    edited = choose_signatures(meta_graph, None, [("a", "c")], [("x", "image"), ("a:y", "mask")], [("y", "x")])
    assert [(one.key, dict(one.inputs), dict(one.outputs)) for one in edited] == [
        ("c", {"x": "image", "y": "mask"}, {"z": "z"}),
        ("b", {"x": "image"}, {"y": "x"}),
    ]
    assert list(edited[0].definition.defaults) == ["mask"]
    assert edited[0].definition.inputs["mask"].name == "y:0"
    assert list(meta_graph.signature_def["a"].inputs) != list(edited[0].definition.inputs), "the source stays"


def test_keys_may_be_swapped_and_may_hold_colons() -> None:
    (one,) = choose_signatures(make_meta_graph(a="x,y,a:x>z"), ["a"], (), [("x", "y"), ("y", "x"), ("a:x", "q")])
    assert dict(one.inputs) == {"a:x": "q", "x": "y", "y": "x"}


def test_a_signature_is_named_as_it_was_called() -> None:
    with pytest.raises(UserError, match=r"^--rename-input c:x=q: no signature that is kept was called c; found a, b$"):
        choose_signatures(make_meta_graph(a="x>y", b="x>z"), None, [("a", "c")], [("c:x", "q")])


def test_a_run_and_a_signature_by_the_new_keys() -> None:
    (one,) = choose_signatures(make_meta_graph(a="x,s>y,z"), None, (), [("x", "b"), ("s", "a")], [("y", "zz")])
    run: Any = one.rename_run(lambda values: {"y": values["x"], "z": values["s"]})
    assert list(run({"a": 1, "b": 2}).items()) == [("z", 1), ("zz", 2)]
    tensors = [Tensor(key, f"{key}:0", "float32", None) for key in ("s/indices", "s/values", "x")]
    renamed = one.rename(Signature(tuple(tensors), ()))
    assert [(t.key, t.name) for t in renamed.inputs] == [
        ("a/indices", "s/indices:0"),
        ("a/values", "s/values:0"),
        ("b", "x:0"),
    ]


def test_a_new_one_has_a_key_of_its_own() -> None:
    edited = choose_signatures(make_meta_graph(a="x>y"), None)
    new = make_new_signature("b", edited[0].definition, edited)
    assert (new.source, new.is_rekeyed, describe_signature(new)[:2]) == (None, False, ("b", "new"))
    with pytest.raises(UserError, match="make the signature a, and the SavedModel has one of that key"):
        make_new_signature("a", edited[0].definition, edited)


def test_predict_takes_anything() -> None:
    (one,) = choose_signatures(make_meta_graph(a=">y"), None)
    assert call_by("predict", one).definition.method_name == "tensorflow/serving/predict"
    assert one.definition.method_name == ""
