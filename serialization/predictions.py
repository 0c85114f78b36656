"""Run a model once and show what went in and what came out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from serialization import cli, feeds
from serialization.feeds import Hint
from serialization.flags import Feed
from serialization.given import parse
from serialization.signature import Signature
from serialization.tensorflow import reason, tf
from serialization.verify import Run


def show(
    predict: Run,
    wanted: Signature,
    given: Sequence[Feed] | None = None,
    hints: Mapping[str, Hint] | None = None,
    batches: Iterable[int] = (),
) -> None:
    """Print the predictions for what `--feed` gives, else for generated values that the model takes.

    Raises cli.Error where the model runs on none of them.
    """
    attempts = iter([[parse(wanted, given)]]) if given else feeds.attempts(wanted, hints, batches)
    failure: BaseException | None = None
    for attempt in attempts:
        for values in attempt[-1:] if failure else attempt[:1]:
            try:
                results = predict(values)
            except tf.errors.OpError as error:
                failure = failure or error
                continue
            if not given and wanted.inputs:
                print("no --feed, so these values are generated:")
            for tensor in (*wanted.inputs, *wanted.outputs):
                value = {**values, **results}[tensor.key]
                print(f"{tensor.name} {tensor.dtype} {list(value.shape)}", value, sep="\n")
            return
    advice = "" if given or not wanted.inputs else f"; name values that it takes: {feeds.flags_for(wanted)}"
    raise cli.Error(f"the model does not run on {'these' if given else 'generated'} values: {reason(failure)}{advice}")
