"""What several clients ask at once is answered in one go, and none notices the others."""

from __future__ import annotations

import io
import queue
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import pytest
from flask import Flask
from serving_models import PREDICT, at_once, open_small, post, small_app, soon

from serialization.run.predictor import Predictor
from serialization.serving.http.direct import make_direct, split_requests
from serialization.serving.http.gatherer import Gatherer
from serialization.serving.http.predict_route import SERVING
from serialization.serving.limits import Settings
from serialization.tensorflow import np, tf


class Protocol:
    """What granian gives with a request: it takes the answer, from any thread."""

    def __init__(self) -> None:
        self.answers: queue.SimpleQueue[tuple[int, dict[str, str], Any]] = queue.SimpleQueue()

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.answers.put((status, dict(headers), msgspec.json.decode(body)))

    def answer(self) -> tuple[int, Any]:
        """The only one there is."""
        status, _, value = self.answers.get(timeout=30)
        assert self.answers.empty()
        return status, value


def environ(value: Any) -> dict[str, Any]:
    body = msgspec.json.encode(value)
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": PREDICT,
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }


def together(app: Flask, *values: Any) -> list[tuple[int, Any]]:
    """The answers to these bodies, run together."""
    _, route = app.config[SERVING]
    protocols = [Protocol() for _ in values]
    admitted = [route.admit(environ(value), p.response_bytes) for value, p in zip(values, protocols, strict=True)]
    route.answer([request for request in admitted if request])
    return [protocol.answer() for protocol in protocols]


def in_flight(app: Flask) -> str:
    text = app.test_client().get("/metrics").get_data(as_text=True)
    return next(line for line in text.splitlines() if line.startswith("serving_requests_in_flight"))


def test_each_gets_its_own_rows() -> None:
    app = small_app("two")
    bodies = [{"x": {"a": [[i, 0, 1]] * (i % 3 + 1), "b": [i - 2] * (i % 3 + 1)}} for i in range(5)]
    expected = [
        {"y": {"sum": [[i + i - 2, i - 2, i - 1]] * (i % 3 + 1), "positive": [i > 2] * (i % 3 + 1)}} for i in range(5)
    ]
    assert together(app, *bodies) == [(200, value) for value in expected]
    assert in_flight(app).endswith(" 0.0")


@pytest.mark.parametrize("settings", [{}, {"max_batch_size": 8}])
def test_one_that_the_model_refuses_is_refused_alone(settings: dict[str, Any]) -> None:
    answers = together(small_app("embedding", **settings), {"x": [[1, 2]]}, {"x": [[1, 99]]}, {"x": [[0, 0]]})
    assert [status for status, _ in answers] == [200, 422, 200]
    assert "the model refuses the values" in answers[1][1]["error"]
    assert [answers[0][1], answers[2][1]] == [{"y": [14.0]}, {"y": [2.0]}]


@pytest.mark.parametrize("settings", [{}, {"max_batch_size": 8}])
def test_rows_of_other_lengths_are_run_alone(settings: dict[str, Any]) -> None:
    answers = together(small_app("embedding", **settings), {"x": [[1, 2]]}, {"x": [[0]]}, {"x": [[0, 0, 1]]})
    assert answers == [(200, {"y": [14.0]}), (200, {"y": [1.0]}), (200, {"y": [7.0]})]


def test_a_model_that_drops_rows_gives_each_its_own() -> None:
    """Together it gives what each alone gives, but not row for row."""
    app = small_app("positive only")
    bodies = [{"x": [1, -1]}, {"x": [2]}, {"x": [-3, 3]}]
    assert together(app, *bodies) == [(200, {"y": [1.0]}), (200, {"y": [2.0]}), (200, {"y": [3.0]})]


def test_what_is_refused_before_it_runs_is_answered_at_once() -> None:
    app = small_app("two")
    first, second = together(app, {"x": {"a": [[1, 2]], "b": [1]}}, {"x": {"a": [[1, 2, 3]], "b": [1]}})
    assert first[0] == 400
    assert second == (200, {"y": {"sum": [[2, 3, 4]], "positive": [True]}})
    assert in_flight(app).endswith(" 0.0")


@pytest.mark.parametrize(
    ("error", "status"),
    [(tf.errors.DeadlineExceededError, 504), (tf.errors.ResourceExhaustedError, 503), (ZeroDivisionError, 500)],
)
def test_a_run_that_fails_is_told_to_all(
    error: Any, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = small_app("two")
    _, route = app.config[SERVING]

    def fail(values: Any) -> Any:
        raise error(None, None, "no") if issubclass(error, tf.errors.OpError) else error

    monkeypatch.setattr(route, "_predict", fail)
    body = {"x": {"a": [[1, 2, 3]], "b": [1]}}
    assert [status for status, _ in together(app, body, body)] == [status, status]
    assert in_flight(app).endswith(" 0.0")
    assert ("Traceback" in capsys.readouterr().err) == (status == 500)


def test_only_a_model_that_gives_the_same_bits_is_run_together_unasked() -> None:
    """Several rows are multiplied with a matrix in another order than one is."""
    assert small_app("two").config[SERVING][0].together
    assert not small_app("two", max_batch_size=1).config[SERVING][0].together
    assert not small_app("centred").config[SERVING][0].together
    engine, _ = (app := small_app("matrices")).config[SERVING]
    session, signature = open_small("matrices")
    predict = Predictor(session, signature, inline=True)
    rows = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    alone = np.concatenate([predict({"x": row[None]})["y"] for row in rows])
    same = alone.tobytes() == predict({"x": rows})["y"].tobytes()
    assert same or not engine.together, app


def test_a_model_that_takes_one_row_only_is_served_row_by_row() -> None:
    app = small_app("one row")
    assert not app.config[SERVING][0].together
    assert post(app.test_client(), '{"x": [3]}') == (200, {"y": [3.0]})


def test_a_model_whose_rows_make_those_of_others_longer_is_not_run_together_unasked() -> None:
    app = small_app("words")
    assert not app.config[SERVING][0].together
    assert post(app.test_client(), '{"x": ["a", "b c"]}') == (200, {"y": [["a", ""], ["b", "c"]]})


def test_an_answer_that_cannot_be_sent_keeps_nobody_from_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    app = small_app("two")
    _, route = app.config[SERVING]

    def fail(*_: Any) -> None:
        raise BrokenPipeError("gone")

    protocol = Protocol()
    body = {"x": {"a": [[1, 2, 3]], "b": [1]}}
    route.answer([route.admit(environ(body), reply) for reply in (fail, protocol.response_bytes)])
    assert protocol.answer()[0] == 200
    assert "BrokenPipeError: gone" in capsys.readouterr().err
    assert in_flight(app).endswith(" 0.0")


def test_no_more_rows_are_run_together_than_asked() -> None:
    _, route = small_app("two").config[SERVING]
    bodies = [{"x": {"a": [[1, 2, 3]] * rows, "b": [1] * rows}} for rows in (3, 1, 2, 9, 1, 1, 1, 1, 4)]
    requests = [route.admit(environ(body), Protocol().response_bytes) for body in bodies]
    parts = list(split_requests(requests, 4))
    assert [[request.rows for request in part] for part in parts] == [[3, 1], [2], [9], [1, 1, 1, 1], [4]]
    assert [request for part in parts for request in part] == requests


class Workers:
    """Threads as granian has them: each takes a request, and what answers may take longer than its thread."""

    def __init__(self, app: Flask, settings: Settings, threads: int = 8) -> None:
        self.answer, self.drain = make_direct(app, settings)
        self.requests: queue.SimpleQueue[tuple[Protocol, dict[str, Any]] | None] = queue.SimpleQueue()
        self.threads = [threading.Thread(target=self._work) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def _work(self) -> None:
        while (request := self.requests.get()) is not None:
            self.answer(*request)

    def ask(self, value: Any) -> tuple[int, Any]:
        protocol = Protocol()
        self.requests.put((protocol, environ(value)))
        return protocol.answer()

    def end(self) -> None:
        self.drain()
        for _ in self.threads:
            self.requests.put(None)
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def workers(request: pytest.FixtureRequest) -> Iterator[tuple[Workers, Flask]]:
    name, settings = request.param
    app = small_app(name, **settings)
    made = Workers(app, Settings(**settings))
    yield made, app
    made.end()


BATCHED = {"max_batch_size": 16}
WAITING = {"max_batch_size": 16, "batch_timeout_ms": 1.0}


@pytest.mark.parametrize("workers", [("two", {}), ("two", BATCHED), ("two", WAITING)], indirect=True)
def test_inputs_of_different_lengths_are_run_alone(workers: tuple[Workers, Flask]) -> None:
    """Two that lack each what the other has too much would fit together."""
    made, _ = workers
    answers: dict[int, Any] = {}

    def client(i: int) -> None:
        for _ in range(50):
            answers[i] = made.ask({"x": {"a": [[1, 2, 3]] * (2 + i % 2), "b": [1] * (3 - i % 2)}})
            assert answers[i][0] == 422, answers[i]

    at_once(*(partial(client, i) for i in range(8)))
    assert [status for status, _ in answers.values()] == [422] * 8


@pytest.mark.parametrize("workers", [("two", {}), ("two", BATCHED), ("two", WAITING)], indirect=True)
def test_64_clients_get_each_their_own(workers: tuple[Workers, Flask]) -> None:
    """5,000 requests with distinct rows, some of them faulty, some of many rows."""
    made, app = workers
    wrong: list[Any] = []
    numbers = iter(range(5000))

    def client() -> None:
        for i in numbers:  # one iterator for all threads: each number is taken once
            rows = 100 if i % 500 == 0 else 1
            status, answer = made.ask({"x": {"a": [[i, 0, 1]] * rows, "b": [i if i % 7 else "no"] * rows}})
            expected = {"sum": [[2 * i, i, i + 1]] * rows, "positive": [i > 0] * rows}
            if (status, answer.get("y")) != ((200, expected) if i % 7 else (400, None)):
                wrong.append((i, status, answer))

    at_once(*[client] * 64)
    assert wrong == []
    text = app.test_client().get("/metrics").get_data(as_text=True)
    assert 'serving_requests_total{route="/api/predict",status="200"} 4285.0' in text
    alone = next(line for line in text.splitlines() if line.startswith('serving_batch_rows_bucket{le="1.0"}'))
    assert float(alone.split()[1]) < 4000, "nothing was run together"
    assert in_flight(app).endswith(" 0.0")


class Heard:
    """Collects what a gatherer hands on."""

    def __init__(
        self,
        most: int = 8,
        seconds: float = 0,
        expected: int = 1,
        patience: tuple[float, float] = (0.0005, 0.02),
        over: float = 60,  # a machine may stand still for a while, after which a gatherer would begin anew
    ) -> None:
        self.batches: list[tuple[int, list[int]]] = []
        self.seconds = seconds
        self.gatherer = Gatherer(self._hear, most, patience=patience, over=over)
        self.gatherer._expected = expected
        self.gatherer._done = time.perf_counter()  # a moment ago: those that it expects may come now

    def _hear(self, things: list[int]) -> None:
        if self.seconds:
            time.sleep(self.seconds)
        self.batches.append((threading.get_ident(), things))

    def put(self, *things: int) -> None:
        for thing in things:
            self.gatherer.put(thing, time.perf_counter())

    def wait_for(self, count: int) -> list[int]:
        soon(lambda: sum(len(things) for _, things in self.batches) >= count)
        return [thing for _, things in self.batches for thing in things]


@pytest.mark.parametrize("seconds", [0, 0.01])
def test_who_is_alone_never_waits(seconds: float) -> None:
    """However long the model takes: the next request comes a round trip after the answer."""
    heard = Heard(seconds=seconds)
    for i in range(50):
        heard.gatherer.put(i, heard.gatherer._done + 0.00006)
    assert heard.batches == [(threading.get_ident(), [i]) for i in range(50)]


def test_what_comes_while_the_late_are_handed_on_does_not_wait_for_it() -> None:
    heard = Heard(expected=8)
    busy = threading.Event()

    def hear(things: list[int]) -> None:
        heard._hear(things)
        if 1 in things:
            busy.wait(30)

    heard.gatherer._hand_on = hear
    heard.put(1)
    assert heard.wait_for(1) == [1]
    assert heard.batches[-1][0] != threading.get_ident()
    heard.put(2)
    assert heard.batches[-1] == (threading.get_ident(), [2])
    busy.set()


def test_what_took_long_to_come_is_not_forgotten() -> None:
    """As a request does whose body comes late: what looks after the others may be over when it is put."""
    heard = Heard(expected=8)
    began = heard.gatherer._done
    for i in range(3):
        heard.gatherer.put(i, began)
        assert heard.wait_for(i + 1) == list(range(i + 1))


def test_what_waited_for_the_lock_is_not_forgotten() -> None:
    """The alarm may have rung meanwhile, for others."""
    heard = Heard(expected=8)
    with heard.gatherer._lock:
        heard.gatherer._alarm.kept = time.perf_counter() + 0.05
        threading.Thread(target=heard.put, args=[0]).start()
        time.sleep(0.1)
    assert heard.wait_for(1) == [0]


def test_an_alarm_that_rings_late_lets_nobody_wait() -> None:
    """It was set for a short time and looks when it is set for a long one; then it is to ring again."""
    heard = Heard(expected=8)
    heard.gatherer._patience = 0.1
    heard.put(0)
    heard.gatherer._patience = 0.0005
    heard.gatherer._look()
    assert heard.wait_for(1) == [0]
    for i in range(1, 4):
        heard.put(i)
    assert heard.wait_for(4) == list(range(4))


def test_more_are_expected_while_they_come_without_a_pause() -> None:
    heard = Heard(most=4, patience=(1, 1))  # a machine may stand still for a while
    for i in range(102):
        heard.gatherer.put(i, heard.gatherer._done + 0.00001)
    sizes = [len(things) for _, things in heard.batches]
    assert sizes == sorted(sizes)
    assert set(sizes) == {1, 2, 4}
    assert heard.wait_for(102) == list(range(102)), "the last ones are handed on, too"


def test_fewer_are_expected_after_fewer_came_some_times() -> None:
    heard = Heard(expected=8)
    for i in range(3):
        heard.put(i)
        assert heard.wait_for(i + 1) == list(range(i + 1))
    assert threading.get_ident() not in {thread for thread, _ in heard.batches}
    heard.put(3)
    assert heard.batches[-1] == (threading.get_ident(), [3])


def test_fewer_are_expected_while_they_are_waited_for_in_vain() -> None:
    """As with 16 clients that have all to be answered before the first of them asks again."""
    heard = Heard(most=16, expected=16, patience=(60, 60))  # a machine may stand still for a while
    for _ in range(33):
        heard.gatherer.put(0, heard.gatherer._done + 0.05)
        for i in range(1, 16):
            heard.gatherer.put(i, heard.gatherer._done + 0.00001)
    assert heard.gatherer._expected == 8
    tried_after = heard.gatherer._trials[16]
    assert tried_after > heard.gatherer._trials[8], "it takes longer until 16 are tried again"
    for _ in range(8 * tried_after - len(heard.gatherer._waiting)):
        heard.gatherer.put(0, heard.gatherer._done + 0.00001)
    assert heard.gatherer._expected == 16


def test_to_wait_as_long_as_clients_need_is_no_waste() -> None:
    """As with 16 clients of a small model, which then has to start once for all of them."""
    heard = Heard(most=16, expected=16, patience=(60, 60))  # a machine may stand still for a while
    for _ in range(99):
        for pause in (0.00006, *[0.00003] * 15):
            heard.gatherer.put(0, heard.gatherer._done + pause)
    assert heard.gatherer._expected == 16


def test_all_begins_anew_when_nothing_was_asked_for_a_while() -> None:
    heard = Heard(expected=8, over=0.1)
    heard.gatherer.put(0, heard.gatherer._done + 1)
    assert heard.batches == [(threading.get_ident(), [0])]


def test_nothing_is_lost_between_threads() -> None:
    heard = Heard()
    at_once(*(partial(heard.put, *range(1000 * n, 1000 * (n + 1))) for n in range(8)))
    assert sorted(heard.wait_for(8000)) == list(range(8000))
