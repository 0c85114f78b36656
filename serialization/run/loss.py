"""Measures what a quantized model has lost: its answers beside those of its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serialization.console import make_printable
from serialization.run.compared_runs import Proof
from serialization.run.differences import Tolerance
from serialization.run.predictor import Run
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ANY = Tolerance(lambda _expected, _actual: True, "as measured")


def describe_loss(source: Run, proof: Proof) -> str:
    """The line `measured: ...`: how far each output is from the source's, on the feeds of a comparison within ANY."""
    pairs: dict[str, list[tuple[NDArray[Any], NDArray[Any]]]] = {}
    for feed, answers in zip(proof.feeds, proof.answers, strict=True):
        for key, expected in source(feed).items():
            pairs.setdefault(key, []).append((expected, answers[key]))
    parts = [f"{make_printable(key)}: {_describe(found)}" for key, found in pairs.items()]
    return f"measured: {'; '.join(parts)}; {proof.covered}"


def _describe(pairs: list[tuple[NDArray[Any], NDArray[Any]]]) -> str:
    """The greatest and the mean difference, and how often the largest number of a row is in the same place."""
    first = pairs[0][0]
    if first.dtype.kind not in "fc":
        return f"equal in {_percent([expected == actual for expected, actual in pairs])} of its values"
    gaps = np.concatenate([np.abs(actual - expected).ravel() for expected, actual in pairs])
    text = f"at most {np.max(gaps, initial=0):.2g} from the source, {np.mean(gaps) if gaps.size else 0:.2g} on average"
    if first.ndim < 2 or first.shape[-1] < 2:
        return text
    same = [np.argmax(expected, -1) == np.argmax(actual, -1) for expected, actual in pairs]
    return f"{text}, its largest number in the same place in {_percent(same)} of the rows"


def _percent(same: list[Any]) -> str:
    share = np.mean(np.concatenate([np.ravel(values) for values in same]))
    return f"{np.floor(share * 1000) / 10:g} %"  # 100 % are all of them
