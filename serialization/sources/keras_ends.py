"""The inputs and outputs of a loaded Keras model: their keys, how it is traced, and what Keras itself answers."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from serialization.console import show_path
from serialization.errors import UserError
from serialization.files.locate_keras import KerasFile
from serialization.run.predictor import Run, Values
from serialization.tensorflow import format_reason, np, tf


@dataclass(frozen=True)
class Ends:
    """The inputs of a Keras model as tf.TensorSpec, named by their keys, and two ways to call it with them in order.

    `call` returns a dict of tensors by the keys of the outputs, and can be traced; `predict` runs the model eagerly on
    numpy arrays by the keys of the inputs. `variables` are those that a run may change. `outputs` are the keys of the
    outputs in the model's order, once it was called.
    """

    specs: list[Any]
    call: Callable[..., dict[str, Any]]
    variables: Callable[[], list[Any]]
    outputs: list[str]

    def predict(self, values: Values) -> Values:
        """The model's own answers, op by op, as at inference. Raises tf.errors.OpError where it does not run."""
        return _run_in_thread(self._predict, values)

    def predict_afresh(self) -> Run:
        """The same, from the state that the model has now, for a model that changes its variables as it runs."""
        first = [(variable, variable.numpy()) for variable in self.variables()]

        def run(values: Values) -> Values:
            for variable, value in first:
                variable.assign(value)
            return self._predict(values)

        return partial(_run_in_thread, run)

    def _predict(self, values: Values) -> Values:
        tensors = [tf.constant(values[spec.name], spec.dtype) for spec in self.specs]
        try:
            answers = self.call(*tensors)
        except (ValueError, TypeError) as error:  # Keras checks shapes itself
            raise tf.errors.InvalidArgumentError(None, None, format_reason(error)) from None
        except tf.errors.FailedPreconditionError as error:
            if "Table not initialized" not in str(error):
                raise
            raise UserError(
                "a layer of the model looks words up, and the file does not hold its vocabulary; an .h5 file keeps "
                "none of an adapt(); save the model as .keras"
            ) from None
        return {key: _to_array(answer) for key, answer in answers.items()}


def find_ends(keras: Any, model: Any, found: KerasFile) -> Ends:
    """The inputs and outputs of a loaded model. Their keys are those of its dicts, else the names of its layers.

    Other characters than letters, digits and _ become _, as in all keys of a tf.function. Raises UserError for a
    subclassed model of which no shapes are recorded.
    """
    structure = _find_structure(keras, model, found)
    leaves = list(_list_leaves(structure))
    keys = _make_keys([".".join(words) or str(leaf.name) for words, leaf in leaves])
    specs = []
    for key, (_, leaf) in zip(keys, leaves, strict=True):
        if getattr(leaf, "sparse", False) or getattr(leaf, "ragged", False) is True:
            raise UserError(
                f"{show_path(found.path)} has the input {key}, which is sparse or ragged; export it in Keras"
            )
        specs.append(tf.TensorSpec(leaf.shape, leaf.dtype, name=key))

    outputs: list[str] = []

    def call(*tensors: Any) -> dict[str, Any]:
        answer = model(_fill(structure, iter(tensors)), training=False)
        ends = list(_list_leaves(answer))
        known = list(getattr(model, "output_names", ()))
        if isinstance(model, keras.Sequential):
            known = [model.layers[-1].name]
        numbered = known if len(known) == len(ends) else [f"output_{n}" for n in range(len(ends))]
        names = _make_keys([".".join(words) or numbered[n] for n, (words, _) in enumerate(ends)])
        outputs[:] = names
        return {name: tensor for name, (_, tensor) in zip(names, ends, strict=True)}

    return Ends(specs, call, lambda: [*model.non_trainable_variables, *_list_states(model)], outputs)


def _find_structure(keras: Any, model: Any, found: KerasFile) -> Any:
    """The inputs of a model as it is called with: tensors of Keras, or their shapes and dtypes, in lists and dicts."""
    if isinstance(model, keras.Sequential) and model.inputs:
        return model.inputs[0]
    if getattr(model, "inputs", None):
        return model.input
    shapes = (model.get_build_config() or {}).get("input_shape")
    if not shapes:
        raise UserError(
            f"{show_path(found.path)} records no shapes of its inputs; call the model once before model.save"
        )
    return _make_specs(shapes, getattr(model, "input_dtype", None) or model.compute_dtype)


def _make_specs(shapes: Any, dtype: str) -> Any:
    """The specs of inputs of these shapes, whose first size was that of some batch."""
    if isinstance(shapes, Mapping):
        return {key: _make_specs(shape, dtype) for key, shape in shapes.items()}
    if all(size is None or isinstance(size, int) for size in shapes):
        return tf.TensorSpec([None, *shapes[1:]], dtype, name="inputs")
    return [_make_specs(shape, dtype) for shape in shapes]


def _list_leaves(structure: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each tensor in nested dicts and sequences, and the keys of the dicts that lead to it."""
    if isinstance(structure, Mapping):
        for key, value in structure.items():
            yield from _list_leaves(value, (*words, str(key)))
    elif isinstance(structure, (list, tuple)):
        for value in structure:
            yield from _list_leaves(value, words)
    else:
        yield words, structure


def _fill(structure: Any, tensors: Iterator[Any]) -> Any:
    """The structure with these tensors in place of its own."""
    if isinstance(structure, Mapping):
        return {key: _fill(value, tensors) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        return [_fill(value, tensors) for value in structure]
    return next(tensors)


def _make_keys(names: list[str]) -> list[str]:
    """Different keys that a tf.function can have as arguments."""
    keys: list[str] = []
    for name in names:
        stem = re.sub(r"\W", "_", name.removesuffix(":0"), flags=re.ASCII)
        stem = f"_{stem}" if stem[:1].isdigit() or not stem else f"{stem}_" if keyword.iskeyword(stem) else stem
        free = (key for key in (stem, *(f"{stem}_{n}" for n in range(1, len(names) + 1))) if key not in keys)
        keys.append(next(free))
    return keys


def _list_states(model: Any) -> list[Any]:
    """The states of stateful layers of Keras 2, which are among no model's variables."""
    layers = [layer for layer in getattr(model, "layers", ()) if getattr(layer, "stateful", False)]
    states = [state for layer in layers for state in getattr(layer, "states", ())]
    return [state for state in states if hasattr(state, "assign")]


def _run_in_thread(run: Run, values: Values) -> Values:
    """Run in a new thread: in this one a session's graph may be the default, and Keras would add ops to it."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run, values).result()


def _to_array(tensor: Any) -> Any:
    value = tensor.numpy()
    return (
        value if isinstance(value, np.ndarray) else np.array(value, dtype=object if isinstance(value, bytes) else None)
    )
