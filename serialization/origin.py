"""What a conversion starts from: a model that runs, from the same state each time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serialization.feeds import Hint
from serialization.signature import Signature
from serialization.verify import Run


@dataclass(frozen=True)
class Origin:
    """A session that runs `graph_def`; `predict` runs `signature`. `plain`: TensorFlow's own calls convert it well.

    `hints` and `batches` are what the graph says about feeds, see feeds.attempts. `repeat`, where running may change
    variables, runs it twice and gives the second answer.
    """

    session: Any
    graph_def: Any
    signature: Signature
    predict: Run
    plain: bool = True
    hints: Mapping[str, Hint] = field(default_factory=dict)
    batches: tuple[int, ...] = ()
    repeat: Run | None = None
