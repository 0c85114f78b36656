"""The Flask application around one model: its predictions, its health, its metrics and a page to try it on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed, NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.routing import RequestRedirect

from serialization.console import make_printable
from serialization.graph.signature import Signature
from serialization.run.predictor import give_sessions_own_threads
from serialization.serving.http.predict_route import EXAMPLE, PREDICT, SERVING, PredictRoute
from serialization.serving.limits import Settings
from serialization.serving.metrics import Metrics
from serialization.serving.model.engine import make_engine
from serialization.serving.openapi import describe_api
from serialization.serving.page import render_page
from serialization.serving.requests import RequestInfo, RequestLog, get_path, make_error_body, make_internal_error
from serialization.serving.wire.json_format import make_example_body, require_json_form


def make_app(name: str, load: Callable[[], tuple[Any, Signature]], settings: Settings) -> Flask:
    """The application for the model that `load` gives as a session and its signature; ready once this returns."""
    started = time.monotonic()
    metrics = Metrics(settings.metrics_folder)
    give_sessions_own_threads()
    session, signature = load()
    require_json_form(signature)
    engine = make_engine(session, signature, settings)
    log = RequestLog(metrics, settings.log_format)
    predict = PredictRoute(engine, settings, log)
    example = make_example_body(signature, engine.example)

    app = Flask("freezemodel_serve", static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # its answers are no JSON
    app.config[SERVING] = engine, predict
    app.config[EXAMPLE] = example
    _log_every_request(app, log, lambda: predict.draining)

    @app.get("/")
    def show_page() -> Response:
        return Response(render_page(name, engine, example), content_type="text/html; charset=utf-8")

    @app.get("/healthz")
    def health() -> dict[str, Any]:
        return {"status": "alive"}

    @app.get("/readyz")
    def readiness() -> tuple[dict[str, Any], int]:
        if predict.draining:
            return {"error": "the server is ending", "request_id": g.info.id}, 503
        return {"status": "ready", "model": name, "runs": engine.how}, 200

    @app.get("/metrics")
    def show_metrics() -> Response:
        text, content_type = metrics.page()
        return Response(text, content_type=content_type)

    @app.get("/openapi.json")
    def describe() -> dict[str, Any]:
        return describe_api(name, signature, settings, example)

    mounted = DispatcherMiddleware(app.wsgi_app, {PREDICT: predict})
    app.wsgi_app = mounted  # type: ignore[method-assign]
    metrics.loaded(time.monotonic() - started)
    return app


def _log_every_request(app: Flask, log: RequestLog, draining: Callable[[], bool]) -> None:
    """Ids, errors as JSON, log and metrics for the routes of Flask; PredictRoute does the same for its own."""

    @app.before_request
    def begin() -> None:
        g.info = RequestInfo(request.environ, log.new_id(request.environ), time.perf_counter())
        if isinstance(request.routing_exception, RequestRedirect):  # as for `OPTIONS *`, to a page of HTML
            raise NotFound

    @app.after_request
    def record(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.info.id
        if draining():
            response.headers["Connection"] = "close"
        route = request.url_rule.rule if request.url_rule else "other"
        log.record([g.info], route, response.status_code)
        return response

    @app.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> Response:
        message = str(error.description)
        path = make_printable(get_path(request.environ))
        if isinstance(error, NotFound):
            message = f"nothing is at {path}; predictions are at {PREDICT}, a page to try them is at /"
        if isinstance(error, MethodNotAllowed):
            error.valid_methods = sorted(error.valid_methods or ())
            message = f"{path} takes {' and '.join(error.valid_methods)}, not {make_printable(request.method)}"
        if isinstance(error, InternalServerError) and error.original_exception is not None:
            message = make_internal_error(g.info.id)
        answer = error.get_response()
        headers = [(name, value) for name, value in answer.headers if not name.lower().startswith("content-")]
        body = make_error_body(message, g.info.id)
        return Response(body, error.code, headers, content_type="application/json")
