"""A model is found under its own flag; under another flag the error shows the right command."""

from __future__ import annotations

from pathlib import Path

import pytest

from serialization.errors import UserError
from serialization.files.model_flags import MODEL_KINDS, find_given_model, find_model

PLACES = {"frozen_model": "frozen_model.pb", "saved_model": "savedmodel_from_source", "checkpoint": "graph.ckpt"}


@pytest.mark.parametrize("kind", MODEL_KINDS)
@pytest.mark.parametrize("other", MODEL_KINDS)
def test_a_model_under_another_flag_is_refused_with_the_right_command(made: Path, kind: str, other: str) -> None:
    path = made / PLACES[other]
    if kind == other:
        assert find_model(kind, path).path == path
        return
    with pytest.raises(UserError) as caught:
        find_model(kind, path, "freezemodel_serve.py")
    flag = other.replace("_", "-")
    assert str(caught.value).startswith(f"{path} is no {kind.replace('_', ' ')}; use `python ")
    assert str(caught.value).endswith(f"freezemodel_serve.py --{flag} {path}`")
    with pytest.raises(UserError) as caught:
        find_model(kind, path)
    assert "freezemodel_serve" not in str(caught.value)


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_a_missing_model_is_reported_the_same_with_and_without_a_script(tmp_path: Path, kind: str) -> None:
    for script in ("", "freezemodel_serve.py"):
        with pytest.raises(UserError, match=r"^no (frozen model|SavedModel|checkpoint) at "):
            find_model(kind, tmp_path / "none", script)


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_the_model_that_is_given_is_found(toy: Path, kind: str) -> None:
    paths = {other: toy / PLACES[other] if other == kind else None for other in MODEL_KINDS}
    found_kind, found = find_given_model(**paths)
    assert (found_kind, found.path) == (kind, toy / PLACES[kind])


def test_without_a_model_the_frozen_one_under_results_is_found(toy: Path) -> None:
    kind, found = find_given_model(frozen_model=None, checkpoint=None)
    assert (kind, found.path) == ("frozen_model", toy / "frozen_model.pb")
