"""Runs an ONNX model in onnxruntime, on the processor."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization.errors import UserError
from serialization.graph.signature import Signature
from serialization.run.predictor import Values
from serialization.tensorflow import np, quiet, tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FATAL = 4  # of onnxruntime's levels; it writes its log to stderr
_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .*? failed: ?|/\S*onnxruntime\S*:\d+ .*?\)(::<lambda\(\)>)? "
)
_LACKING = re.compile(r"Could not find an implementation for (\S+?)\(\d+\) node with name '(.*?)'")
_STATUS = re.compile(r"Name:'(.*?)' Status Message: ")


class OnnxRunner:
    """Runs an ONNX file as a Predictor runs a graph: takes arrays by input key, returns arrays by output key.

    The file's inputs have the keys of `signature` as their names; its outputs are those of `signature`, in order.
    Strings are bytes in arrays of the dtype object. A call raises tf.errors.OpError if onnxruntime fails. `with` frees
    the model. Raises UserError, with op and node, for a model that onnxruntime cannot run.
    """

    def __init__(self, path: Path, signature: Signature) -> None:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import onnxruntime
        onnxruntime.set_default_logger_severity(_FATAL)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        try:
            with quiet():
                self._session: Any = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        except Exception as error:  # a class for each of onnxruntime's statuses, which share no public one
            raise UserError(f"onnxruntime cannot run the model: {_explain(error)}; nothing was written") from error
        known = (*self._session.get_inputs(), *self._session.get_overridable_initializers())
        self._inputs = frozenset(known.name for known in known)
        self._outputs = tuple(tensor.key for tensor in signature.outputs)

    def __call__(self, feeds: Values) -> dict[str, NDArray[Any]]:
        try:
            given = {key: _decode(value) for key, value in feeds.items() if key in self._inputs}
            values = self._session.run(None, given)
        except UnicodeDecodeError:
            raise tf.errors.InvalidArgumentError(None, None, "ONNX takes strings in UTF-8 only") from None
        except Exception as error:
            raise tf.errors.InternalError(None, None, _explain(error)) from error
        return dict(zip(self._outputs, map(_encode, values), strict=True))

    def __enter__(self) -> OnnxRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None


def _decode(value: NDArray[Any]) -> NDArray[Any]:
    if value.dtype != object:
        return value
    return np.array([text.decode() for text in value.ravel()], object).reshape(value.shape)


def _encode(value: Any) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype != object:
        return array
    return np.array([text.encode() for text in array.ravel()], object).reshape(array.shape)


def _explain(error: Exception) -> str:
    text = " ".join(str(error).split())
    if lacking := _LACKING.search(text):
        return f"it has no implementation of {lacking[1]}, the op of node {lacking[2]}, for these dtypes"
    text = _STATUS.sub(r"node \1: ", _NOISE.sub("", text))
    return text.strip()[:300].rstrip(".:;, ")
