"""Decodes and encodes TensorFlow Serving's classify and regress requests: examples with features, and their results.

    {"examples": [{"x": 80.0}]}  is answered with  {"results": [42.0]}, or with a label and a score for each class.

Such a signature takes tf.train.Example protobufs, which its graph parses. Source: json_tensor.cc, classifier.cc and
regressor.cc of tensorflow/serving.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from serialization.console import make_printable
from serialization.graph.signature import Signature, Tensor
from serialization.run.json_values import MisfitError, convert_json, name_json_type
from serialization.serving.requests import RequestError, require_row_count
from serialization.serving.wire.json_format import may_hold_nonfinite
from serialization.serving.wire.protocol import JSON_HEADERS, Encode, Headers, Results
from serialization.serving.wire.tensor_rules import replace_nonfinite
from serialization.tensorflow import np, tf

METHODS = {"classify": "tensorflow/serving/classify", "regress": "tensorflow/serving/regress"}
_KINDS = {"classify": "classification", "regress": "regression"}
_CLASSES, _SCORES, _OUTPUTS = "classes", "scores", "outputs"  # the keys of the outputs of such signatures


class ExampleForm:
    """Decodes examples and encodes classes or values. Raises RequestError for a body that does not fit."""

    def __init__(self, signature: Signature, max_rows: int, nonfinite: str) -> None:
        self._signature = signature
        self._max_rows = max_rows
        self._nonfinite = nonfinite
        self._may_be_null = may_hold_nonfinite(signature, nonfinite)

    def decode(self, verb: str, document: Mapping[str, Any]) -> tuple[dict[str, Any], Encode]:
        """The serialized examples of a body's JSON, by input key, and the encoder of the answer."""
        self._require_method(verb)
        examples = document.get("examples")
        if not isinstance(examples, list):
            raise RequestError(400, f"examples: expected a list of objects, got {name_json_type(examples)}")
        require_row_count(len(examples), self._max_rows, "examples")
        context = _make_features(document.get("context", {}), "context")
        rows = []
        for i, features in enumerate(examples):
            features = {**context, **_make_features(features, f"examples[{i}]")}
            rows.append(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
        encode = partial(self._encode, self.list_classes if verb == "classify" else self.list_values)
        return self.take_rows(verb, rows), encode

    def take_rows(self, verb: str, rows: Sequence[bytes]) -> dict[str, Any]:
        """Serialized examples as the value of the only input, by its key. Raises RequestError."""
        self._require_method(verb)
        require_row_count(len(rows), self._max_rows, "examples")
        array = np.empty(len(rows), object)
        array[:] = rows
        return {self._signature.inputs[0].key: array}

    def _require_method(self, verb: str) -> None:
        """Raise RequestError if the signature is for another method, or takes no examples."""
        if self._signature.method != METHODS[verb]:
            raise RequestError(
                400,
                f"Expected {_KINDS[verb]} signature method_name to be {METHODS[verb]}. Was: {self._signature.method}",
            )
        inputs = self._signature.inputs
        if len(inputs) != 1 or inputs[0].dtype != "string" or inputs[0].shape not in (None, (None,)):
            raise RequestError(400, "the signature does not take one list of serialized examples")

    def _encode(self, choose: Any, results: Results, part: slice | None) -> tuple[Headers, bytes]:
        lists = results.list_rows(part)
        body = msgspec.json.encode({"results": choose(lists)})
        if self._may_be_null and b"null" in body:
            lists = replace_nonfinite(self._signature.outputs, lists, self._nonfinite, str)
            body = msgspec.json.encode({"results": choose(lists)})
        return JSON_HEADERS, body

    def list_classes(self, lists: Mapping[str, Any]) -> list[Any]:
        """For each example a list of labels with their scores; a label is "" and a score 0 if there are none."""
        if not lists.keys() & {_CLASSES, _SCORES}:
            raise RequestError(400, f"the signature has no output {_CLASSES!r} and none {_SCORES!r}")
        rows = lists.get(_SCORES) or lists[_CLASSES]
        labels = lists.get(_CLASSES) or [[""] * len(row) for row in rows]
        scores = lists.get(_SCORES) or [[0.0] * len(row) for row in rows]
        return [list(zip(*pair, strict=True)) for pair in zip(labels, scores, strict=True)]

    def list_values(self, lists: Mapping[str, Any]) -> list[Any]:
        """The value of each example."""
        values = lists.get(_OUTPUTS)
        if values is None:
            raise RequestError(400, f"the signature has no output {_OUTPUTS!r}")
        return [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]


def _make_features(features: Any, place: str) -> dict[str, Any]:
    """tf.train.Feature protobufs by name: of whole numbers, numbers or strings. Raises RequestError."""
    if not isinstance(features, dict):
        raise RequestError(400, f"{place}: expected an object, got {name_json_type(features)}")
    return {name: _make_feature(value, f"{place}.{make_printable(name)}") for name, value in features.items()}


def _make_feature(value: Any, place: str) -> Any:
    values = value if isinstance(value, list) else [value]
    kinds = {type(one) for one in values}
    feature = tf.train.Feature()
    if kinds <= {str, dict}:
        dtype, into = "string", feature.bytes_list
    elif kinds <= {int}:
        dtype, into = "int64", feature.int64_list
    else:
        dtype, into = "float32", feature.float_list
    try:
        into.value.extend(convert_json(Tensor(place, "", dtype, (len(values),)), values, place).tolist())
    except MisfitError as misfit:
        raise RequestError(400, str(misfit)) from None
    return feature
