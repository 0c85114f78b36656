"""A version of a model has its own decoders, protocols and sessions; closing it closes them."""

from __future__ import annotations

from typing import Any

import pytest
from serving_models import small_app

from serialization.runtimes.runtime import RunError
from serialization.serving.http.direct import make_direct
from serialization.serving.http.predict_route import SERVING
from serialization.serving.http.version import Version
from serialization.serving.limits import Settings
from serialization.serving.requests import RequestError


def get_version(name: str, **settings: Any) -> Version:
    app = small_app(name, **settings)
    make_direct(app, Settings(**settings))
    version: Version = app.config[SERVING].first.current
    return version


@pytest.mark.parametrize(("name", "settings"), [("two", {}), ("matrices", {"max_batch_size": 4}), ("switch", {})])
def test_a_version_that_is_closed_runs_no_more(name: str, settings: dict[str, Any]) -> None:
    version = get_version(name, **settings)
    ways = [version.predict, version.engine.predict_batch or version.predict]
    for predict in ways:
        predict(version.engine.example)
    version.close()
    for predict in ways:
        with pytest.raises(RunError, match="closed"):
            predict(version.engine.example)


def test_a_path_is_named_in_the_error_for_a_method() -> None:
    with pytest.raises(RequestError, match=r"^/here takes POST, not PUT$"):
        get_version("scalar").find_decoder("/here", "PUT", None, "application/json", "")
