"""Examples of classify and regress: features become protobufs; results have a label and a score, or a value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from serving_models import make_results

from serialization.graph.signature import Signature, Tensor
from serialization.serving.requests import RequestError
from serialization.serving.wire.protocol import Results
from serialization.serving.wire.tfs_examples import METHODS, ExampleForm
from serialization.tensorflow import np, tf

EXAMPLES = Tensor("inputs", "examples:0", "string", (None,))


def make_outputs(*outputs: tuple[str, str]) -> tuple[Tensor, ...]:
    return tuple(Tensor(key, f"{key}:0", dtype, None) for key, dtype in outputs)


def make_form(verb: str, *outputs: tuple[str, str], inputs: tuple[Tensor, ...] = (EXAMPLES,)) -> ExampleForm:
    return ExampleForm(Signature(inputs, make_outputs(*outputs), method=METHODS[verb]), 4, "error")


def features_of(serialized: bytes) -> dict[str, list[Any]]:
    found = tf.train.Example.FromString(serialized).features.feature
    return {name: list(getattr(feature, feature.WhichOneof("kind")).value) for name, feature in found.items()}


def test_features_are_whole_numbers_numbers_or_strings() -> None:
    form = make_form("regress", ("outputs", "float32"))
    example = {"i": 2**40, "is": [1, 2], "f": [1, 2.5], "s": "é", "b": [{"b64": "/w=="}, "a"]}
    values, _ = form.decode("regress", {"examples": [example, {}], "context": {"c": 1, "i": 5}})
    assert values["inputs"].dtype == object
    assert features_of(values["inputs"][0]) == {
        "c": [1],
        "i": [2**40],
        "is": [1, 2],
        "f": [1.0, 2.5],
        "s": ["é".encode()],
        "b": [b"\xff", b"a"],
    }
    assert features_of(values["inputs"][1]) == {"c": [1], "i": [5]}


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({}, "examples: expected a list of objects, got null"),
        ({"examples": []}, "examples: expected 1 to 4 rows, got 0"),
        ({"examples": [{}] * 5}, "examples: expected 1 to 4 rows, got 5"),
        ({"examples": [1]}, "examples[0]: expected an object, got a number"),
        ({"examples": [{}], "context": []}, "context: expected an object, got a list"),
        ({"examples": [{"x": [1, "a"]}]}, "examples[0].x[1]: expected a number, got a string"),
        ({"examples": [{"x": [True]}]}, "examples[0].x[0]: expected a number, got true or false"),
        ({"examples": [{"x": 2**63}]}, "examples[0].x[0]: the number is beyond the range of int64, "),
        ({"examples": [{"x": 1e39}]}, "examples[0].x[0]: the number is beyond the range of float32"),
        ({"examples": [{"x": {"b64": "a"}}]}, 'examples[0].x[0]: expected a string, or {"b64": '),
    ],
)
def test_examples_that_do_not_fit_are_refused(document: dict[str, Any], error: str) -> None:
    with pytest.raises(RequestError) as refused:
        make_form("regress", ("outputs", "float32")).decode("regress", document)
    assert str(refused.value).startswith(error)


def test_a_signature_of_another_kind_is_refused() -> None:
    form = make_form("regress", ("outputs", "float32"))
    with pytest.raises(RequestError, match=r"Expected classification signature method_name to be .*/classify\. Was: "):
        form.decode("classify", {"examples": [{}]})
    numbers = make_form("regress", ("outputs", "float32"), inputs=(Tensor("x", "x:0", "float32", (None,)),))
    with pytest.raises(RequestError, match="does not take one list of serialized examples"):
        numbers.decode("regress", {"examples": [{}]})


LABELS = np.array([[b"cat", b"dog"], [b"dog", b"cat"]], object)
SCORES = np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)


@pytest.mark.parametrize(
    ("outputs", "results", "expected"),
    [
        (
            [("classes", "string"), ("scores", "float32")],
            {"classes": LABELS, "scores": SCORES},
            [[["cat", 0.75], ["dog", 0.25]], [["dog", 0.5], ["cat", 0.5]]],
        ),
        ([("classes", "string")], {"classes": LABELS}, [[["cat", 0.0], ["dog", 0.0]], [["dog", 0.0], ["cat", 0.0]]]),
        ([("scores", "float32")], {"scores": SCORES}, [[["", 0.75], ["", 0.25]], [["", 0.5], ["", 0.5]]]),
    ],
)
def test_classes_have_labels_and_scores(outputs: Any, results: Any, expected: Any) -> None:
    _, encode = make_form("classify", *outputs).decode("classify", {"examples": [{}]})
    results = make_results(results, make_outputs(*outputs))
    assert json.loads(encode(results, None)[1]) == {"results": expected}
    assert json.loads(encode(results, slice(1, 2))[1]) == {"results": expected[1:]}


def test_a_value_for_each_example() -> None:
    def results(key: str, value: Any) -> Results:
        return make_results({key: np.array(value, np.float32)}, make_outputs((key, "float32")))

    _, encode = make_form("regress", ("outputs", "float32")).decode("regress", {"examples": [{}]})
    assert json.loads(encode(results("outputs", [[1.5], [2]]), None)[1]) == {"results": [1.5, 2.0]}
    assert json.loads(encode(results("outputs", [1.5]), None)[1]) == {"results": [1.5]}
    with pytest.raises(RequestError, match="the model's answer is NaN, not a number"):
        encode(results("outputs", [np.nan]), None)
    for verb in METHODS:
        _, encode = make_form(verb, ("z", "float32")).decode(verb, {"examples": [{}]})
        with pytest.raises(RequestError, match="the signature has no output"):
            encode(results("z", [1.5]), None)
