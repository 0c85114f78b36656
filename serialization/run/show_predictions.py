"""Runs a model once and prints its inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from serialization.errors import UserError
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import Signature, Tensor
from serialization.run.failures import may_be_mended, require_mendable
from serialization.run.generated_feeds import Hint, format_feed_flags, generate_attempts
from serialization.run.given_feeds import Feed, read_feeds
from serialization.run.predictor import Run, Values
from serialization.run.saved_predictions import save_predictions
from serialization.tensorflow import format_reason, np, quiet, tf


def print_predictions(
    predict: Run,
    wanted: Signature,
    index: GraphIndex,
    given: Sequence[Feed] | None = None,
    hints: Mapping[str, Hint] | None = None,
    batches: Iterable[int] = (),
    save: Path | None = None,
) -> None:
    """Print the predictions for the values of `--feed`, or for the first generated values that the model takes.

    They are also saved, if there is a path to `save` them to. `index` is that of the model's graph. Raises UserError if
    the model takes none of the values.
    """
    attempts = iter([[read_feeds(wanted, given)]]) if given else generate_attempts(wanted, hints, batches)
    failure: BaseException | None = None
    for attempt in attempts:
        for values in attempt:
            try:
                with quiet():  # the graph may print
                    results = predict(values)
            except tf.errors.OpError as error:
                failure = failure or error
                continue
            if not given and wanted.inputs:
                print("no --feed, so these values are generated:")
            # Generated values are shortened: an image has hundreds of lines.
            with np.printoptions(threshold=1000 if given else 100, edgeitems=3 if given else 2):
                _print(wanted.inputs, values)
            _print(wanted.outputs, results)
            if save is not None:
                save_predictions(save, wanted, results)
            return
    require_mendable(failure, index, wanted)
    helps = wanted.inputs and not given and may_be_mended(failure)
    advice = "" if not helps else f"; name values that it takes: {format_feed_flags(wanted)}"
    raise UserError(
        f"the model does not run on {'these' if given else 'generated'} values: {format_reason(failure)}{advice}"
    )


def _print(tensors: Iterable[Tensor], values: Values) -> None:
    for tensor in tensors:
        value = values[tensor.key]
        print(f"{tensor.name} {tensor.dtype} {list(value.shape)}", value, sep="\n")
