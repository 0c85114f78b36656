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
from serialization.runtimes.runtime import LateError, MemoryShortError
from serialization.serving.http.direct import make_direct, split_requests
from serialization.serving.http.gatherer import Gatherer
from serialization.serving.http.predict_route import SERVING
from serialization.serving.http.watch import Watch
from serialization.serving.limits import Settings
from serialization.tensorflow import np


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
    route = app.config[SERVING]
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
    [(LateError, 504), (MemoryShortError, 503), (ZeroDivisionError, 500)],
)
def test_a_run_that_fails_is_told_to_all(
    error: Any, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = small_app("two")
    route = app.config[SERVING]

    def fail(values: Any) -> Any:
        raise error("no")

    monkeypatch.setattr(route.first.current, "predict", fail)
    body = {"x": {"a": [[1, 2, 3]], "b": [1]}}
    assert [status for status, _ in together(app, body, body)] == [status, status]
    assert in_flight(app).endswith(" 0.0")
    assert ("Traceback" in capsys.readouterr().err) == (status == 500)


def test_only_a_model_that_gives_the_same_bits_is_run_together_unasked() -> None:
    """Several rows are multiplied with a matrix in another order than one is."""
    assert small_app("two").config[SERVING].first.current.engine.together
    assert not small_app("two", max_batch_size=1).config[SERVING].first.current.engine.together
    assert not small_app("centred").config[SERVING].first.current.engine.together
    engine = (app := small_app("matrices")).config[SERVING].first.current.engine
    session, signature = open_small("matrices")
    predict = Predictor(session, signature, inline=True)
    rows = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    alone = np.concatenate([predict({"x": row[None]})["y"] for row in rows])
    same = alone.tobytes() == predict({"x": rows})["y"].tobytes()
    assert same or not engine.together, app


def test_a_model_that_takes_one_row_only_is_served_row_by_row() -> None:
    app = small_app("one row")
    assert not app.config[SERVING].first.current.engine.together
    assert post(app.test_client(), '{"x": [3]}') == (200, {"y": [3.0]})


def test_a_model_whose_rows_make_those_of_others_longer_is_not_run_together_unasked() -> None:
    app = small_app("words")
    assert not app.config[SERVING].first.current.engine.together
    assert post(app.test_client(), '{"x": ["a", "b c"]}') == (200, {"y": [["a", ""], ["b", "c"]]})


def test_an_answer_that_cannot_be_sent_keeps_nobody_from_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    app = small_app("two")
    route = app.config[SERVING]

    def fail(*_: Any) -> None:
        raise BrokenPipeError("gone")

    protocol = Protocol()
    body = {"x": {"a": [[1, 2, 3]], "b": [1]}}
    route.answer([route.admit(environ(body), reply) for reply in (fail, protocol.response_bytes)])
    assert protocol.answer()[0] == 200
    assert "BrokenPipeError: gone" in capsys.readouterr().err
    assert in_flight(app).endswith(" 0.0")


def test_no_more_rows_are_run_together_than_asked() -> None:
    route = small_app("two").config[SERVING]
    bodies = [{"x": {"a": [[1, 2, 3]] * rows, "b": [1] * rows}} for rows in (3, 1, 2, 9, 1, 1, 1, 1, 4)]
    requests = [route.admit(environ(body), Protocol().response_bytes) for body in bodies]
    parts = list(split_requests(requests, 4))
    assert [[request.rows for request in part] for part in parts] == [[3, 1], [2], [9], [1, 1, 1, 1], [4]]
    assert [request for part in parts for request in part] == requests


class Workers:
    """Threads as granian has them: each takes a request, and what answers may take longer than its thread."""

    def __init__(self, app: Flask, settings: Settings, threads: int = 8) -> None:
        self.answer, _, self.drain = make_direct(app, settings)
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


class HandWatch(Watch):
    """Looks when the test says so."""

    def __init__(self) -> None:
        self.looks = []
        self.kept = 0.0
        self.times_put_off = 0

    def put_off(self) -> None:
        self.times_put_off += 1

    def look(self) -> None:
        (look,) = self.looks
        while look():
            pass


class Heard:
    """Collects what a gatherer hands on, and in which thread."""

    def __init__(self, most: int = 16) -> None:
        self.batches: list[list[int]] = []
        self.threads: list[int] = []
        self.watch = HandWatch()
        self.gatherer = Gatherer(self.hear, most, self.watch)

    def hear(self, things: list[int]) -> None:
        self.batches.append(things)
        self.threads.append(threading.get_ident())

    def put_at_once(self, count: int) -> None:
        """Each was there already when the one before it was done with."""
        for i in range(count):
            self.gatherer.put(i, 0.0)

    def put_with_pauses(self, count: int) -> None:
        for i in range(count):
            self.gatherer.put(i, time.perf_counter() + 1)

    def learn(self) -> None:
        """Put things until the most of them come as a batch, and forget the batches."""
        while not self.batches or len(self.batches[-1]) < self.gatherer.most:
            self.put_at_once(1)
        del self.batches[:]

    def sizes(self) -> list[int]:
        return [len(things) for things in self.batches]


def test_a_client_that_is_alone_never_waits() -> None:
    heard = Heard()
    heard.put_with_pauses(100)
    assert heard.batches == [[i] for i in range(100)]
    assert set(heard.threads) == {threading.get_ident()}
    assert not heard.watch.times_put_off


def test_more_are_waited_for_while_they_come_without_a_pause() -> None:
    heard = Heard(most=4)
    heard.put_at_once(200)
    assert heard.sizes() == sorted(heard.sizes())
    assert set(heard.sizes()) == {1, 2, 4}
    assert [thing for things in heard.batches for thing in things] == list(range(200)), "none is lost or overtaken"


def test_never_more_are_waited_for_than_the_most() -> None:
    heard = Heard(most=6)
    heard.put_at_once(500)
    assert max(heard.sizes()) == 6


def test_what_waits_at_two_looks_is_handed_on() -> None:
    heard = Heard()
    heard.learn()
    heard.put_at_once(3)
    assert heard.batches == []
    assert heard.watch.times_put_off, "or nobody would look"
    assert heard.watch.looks[0](), "they may just have come: it is to look again"
    assert heard.batches == []
    heard.watch.look()
    assert heard.batches == [[0, 1, 2]]


def test_after_fewer_came_no_more_are_waited_for_than_came() -> None:
    heard = Heard()
    heard.learn()
    heard.put_at_once(3)
    heard.watch.look()
    heard.put_at_once(2)
    assert heard.sizes() == [3, 2], "two is the power of two below three"


def test_what_was_too_many_is_tried_again_later_each_time() -> None:
    heard = Heard(most=2)
    waits = []
    for _ in range(4):
        singles = 0
        while 2 not in heard.sizes():
            heard.put_at_once(1)
            singles += 1
        waits.append(singles)
        heard.put_at_once(1)
        heard.watch.look()
        del heard.batches[:]
    assert waits == sorted(set(waits)), waits


def test_a_number_that_held_long_is_tried_again_as_soon_as_at_first() -> None:
    heard = Heard(most=2)
    for _ in range(4):
        heard.learn()
        heard.put_at_once(1)
        heard.watch.look()
    heard.learn()
    heard.put_at_once(1000)
    heard.put_at_once(1)
    heard.watch.look()
    del heard.batches[:]
    heard.put_at_once(20)
    assert 2 in heard.sizes()


def test_fewer_are_waited_for_where_they_come_with_pauses() -> None:
    """Each is answered late, and the server has nothing to do meanwhile."""
    heard = Heard()
    heard.learn()
    heard.put_with_pauses(33 * (16 + 8 + 4 + 2) + 50)
    assert heard.sizes()[-50:] == [1] * 50


def test_the_first_of_a_batch_may_come_after_a_pause() -> None:
    """Its clients have to read their answers first."""
    heard = Heard()
    heard.learn()
    for _ in range(100):
        heard.put_with_pauses(1)
        heard.put_at_once(15)
    assert heard.sizes() == [16] * 100


def test_nothing_is_lost_between_threads() -> None:
    heard: list[int] = []
    gatherer = Gatherer(heard.extend, 8, Watch(0.001))

    def put(things: range) -> None:
        for thing in things:
            gatherer.put(thing, time.perf_counter())

    at_once(*(partial(put, range(1000 * n, 1000 * (n + 1))) for n in range(8)))
    assert soon(lambda: len(heard) == 8000)
    assert sorted(heard) == list(range(8000))
