"""Tells a client why its request to a model failed, in the form of its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serialization.runtimes.runtime import LateError, MemoryShortError, RunError, UnclearError, ValuesError
from serialization.serving.http.version import Version
from serialization.serving.requests import RequestError, make_error_body, make_internal_error
from serialization.serving.wire.protocol import JSON_HEADERS, Headers

if TYPE_CHECKING:
    from serialization.serving.http.predict_route import Request


def make_refusal(request: Request, error: Exception, timeout: float) -> tuple[int, Headers, bytes]:
    """The status, the headers and the body for an error; a run has at most `timeout` seconds."""
    error = _explain(error, request.version, timeout)
    if isinstance(error, RequestError):
        status, message, headers = error.status, str(error), error.headers
    else:
        status, message, headers = 500, make_internal_error(request.id), []
    if request.protocol is None:
        body = make_error_body(message, request.id)
    else:
        status, body = request.protocol.refuse(status, message)
    return status, [*headers, *JSON_HEADERS], body


def _explain(error: Exception, version: Version, timeout: float) -> Exception:
    """A RequestError for an error of the runtime that the values of a request caused, else the same error."""
    if isinstance(error, LateError):
        return RequestError(504, f"the model took longer than {timeout:g} s")
    if isinstance(error, ValuesError) or (isinstance(error, UnclearError) and _still_runs(version)):
        return RequestError(422, f"the model refuses the values: {_first_line(error)}")
    if isinstance(error, (MemoryShortError, MemoryError)):
        return RequestError(503, "not enough memory for this request now", Retry_After="1")
    return error


def _still_runs(version: Version) -> bool:
    """Whether the model still runs on the example: if so, the values of a request caused its error."""
    try:
        return not version.engine.runs or bool(version.predict(version.engine.example))
    except RunError:
        return False


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
