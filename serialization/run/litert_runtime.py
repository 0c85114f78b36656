"""Runs a LiteRT model in ai-edge-litert, on the processor."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization.errors import UserError
from serialization.graph.signature import Signature
from serialization.run.predictor import Values
from serialization.tensorflow import np, quiet, tf

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LiteRTRunner:
    """Runs a .tflite file as a Predictor runs a graph: takes arrays by input key, returns arrays by output key.

    The keys are those of the file's signature; its inputs are resized to the arrays. Strings are bytes in arrays of the
    dtype object. A call raises tf.errors.OpError if LiteRT fails. `with` frees the model. Raises UserError for a model
    that LiteRT cannot run.
    """

    def __init__(self, path: Path, signature: Signature) -> None:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from ai_edge_litert.interpreter import Interpreter
        try:
            with quiet():
                interpreter = Interpreter(model_path=str(path))
                self._run: Any = interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise UserError(f"LiteRT cannot run the model: {_explain(error)}; nothing was written") from error
        self._interpreter: Any = interpreter  # the runner reads its memory
        self._inputs = frozenset(self._run.get_input_details())
        self._outputs = tuple(tensor.key for tensor in signature.outputs)

    def __call__(self, feeds: Values) -> dict[str, NDArray[Any]]:
        try:
            results = self._run(**{key: value for key, value in feeds.items() if key in self._inputs})
        except (ValueError, RuntimeError) as error:
            raise tf.errors.InternalError(None, None, _explain(error)) from error
        return {key: np.array(results[key]) for key in self._outputs}  # copies: the next run writes into these

    def __enter__(self) -> LiteRTRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self._run = self._interpreter = None


def _explain(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".:;, ") or type(error).__name__
