"""Example values are found that a model takes."""

from __future__ import annotations

import json

import pytest
from serving_models import post, small_app

from serialization.errors import UserError


def test_a_model_of_encoded_images_is_warmed_up_with_an_image() -> None:
    """The example of the page and of /openapi.json is an image that the model takes."""
    client = small_app("picture").test_client()
    document = client.get("/openapi.json").get_json()
    content = document["paths"]["/api/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert list(content["example"]["x"][0]) == ["b64"]
    assert post(client, json.dumps(content["example"]))[0] == 200
    status, answer = post(client, '{"x": ["no picture"]}')
    assert status == 422
    assert answer["error"].startswith("the model refuses the values: ")


def test_a_model_that_refuses_all_examples_is_served_without_warm_up() -> None:
    client = small_app("particular").test_client()
    assert client.get("/readyz").get_json()["runs"] == "in TensorFlow's threads"
    assert post(client, '{"x": [[1000, 1]]}') == (200, {"y": [[1000, 1]]})
    status, answer = post(client, '{"x": [[1, 1]]}')
    assert status == 422
    assert "too small" in answer["error"]
    with pytest.raises(UserError, match=r"the model cannot run in batches: .*too small"):
        small_app("particular", max_batch_size=8)


def test_a_model_that_cannot_run_is_one_line() -> None:
    with pytest.raises(UserError, match=r"the model does not run: .*uninitialized"):
        small_app("unfinished")
