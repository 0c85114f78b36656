"""All forms of the toy model give the checkpoint's predictions, bit for bit, on the same 1,000 rows."""

from __future__ import annotations

from pathlib import Path

from conftest import restored

import freezemodel_load
import model
import savedmodel_pretrained
from serialization.files.locate import find_saved_model
from serialization.graph.signature import make_signature
from serialization.run.predictor import Predictor, open_session
from serialization.sources.from_saved_model import prepare_saved_model
from serialization.sources.frozen_reader import read_graph_def
from serialization.tensorflow import np


def test_all_forms_predict_the_same(made: Path) -> None:
    inputs, labels = model.make_rows(1000)
    names = (model.SIGNATURE_INPUTS, model.SIGNATURE_OUTPUTS)

    session = restored(made / "graph.ckpt")
    forms = {"checkpoint": Predictor(session, make_signature(session.graph, *names))}
    graph = freezemodel_load.import_graph(read_graph_def(made / "frozen_model.pb"))
    forms["frozen"] = Predictor(open_session(graph), make_signature(graph, *names, scope="prefix"))
    for name in ("source", "checkpoint", "frozen"):
        session, signature = savedmodel_pretrained.load_session(find_saved_model(made / f"savedmodel_from_{name}"))
        forms[f"savedmodel_from_{name}"] = Predictor(session, signature)

    predictions = {name: predict({"inputs_1": inputs})["output1"] for name, predict in forms.items()}
    assert len(predictions) == 5
    for name, values in predictions.items():
        assert values.dtype == np.bool_
        assert values.tobytes() == predictions["checkpoint"].tobytes(), name
    assert (predictions["checkpoint"] == (labels > 0.5)).mean() > 0.995


def test_the_sums_before_the_threshold_are_the_same_too(made: Path) -> None:
    """The predictions are one bit a row; the mean of the ReLU units tells more."""
    inputs, _ = model.make_rows(1000)
    names = (model.SIGNATURE_INPUTS, "NN/truediv")
    session = restored(made / "graph.ckpt")
    expected = Predictor(session, make_signature(session.graph, *names))({"inputs_1": inputs})["NN/truediv"]
    assert len(np.unique(expected)) > 50
    for name in ("source", "checkpoint", "frozen"):
        prepared = prepare_saved_model(find_saved_model(made / f"savedmodel_from_{name}"))
        session, _ = savedmodel_pretrained.load(prepared, optimize=False)
        values = Predictor(session, make_signature(session.graph, *names))({"inputs_1": inputs})["NN/truediv"]
        assert values.tobytes() == expected.tobytes(), name
