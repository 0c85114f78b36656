"""Requests to TensorFlow Serving's REST API, and what it answers, by what they are about.

Read in its tests and sources (http_rest_api_handler_test.cc, json_tensor_test.cc, get_model_status_impl.cc). `stricter`
is the message of this server for a request that TensorFlow Serving answers; docs/serving.md gives the reasons.
"""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """A request, and its answer: `answer` is the JSON of a 200, or a part of the message or the text; None is any."""

    request: str
    body: str
    status: int
    answer: str | None
    model: str = "half_plus_two"
    stricter: str | None = None


CASES: dict[str, list[Case]] = {
    "paths": [
        Case("GET /v1/foo", "", 400, "Malformed request: GET /v1/foo"),
        Case("POST /v1/foo", "", 400, "Malformed request: POST /v1/foo"),
        Case("GET /v1/models", "", 400, "Missing model name in request."),
        Case("POST /v1/models", "", 400, "Malformed request"),
        Case("GET /v1/models/debug/model_name", "", 400, "Malformed request"),
        Case("GET /v1/models/m:predict", "", 400, "Malformed request"),
        Case("POST /v1/models/m/metadata", "", 400, "Malformed request"),
        Case("POST /v1/models/m/version/50:regress", "", 400, "Malformed request"),
        Case("POST /v1/models/m/versions/HELLO:regress", "", 400, "Malformed request"),
        Case(
            "POST /v1/models/m/versions/18446744073709551615:regress",
            "",
            400,
            "Failed to convert version: 18446744073709551615 to numeric.",
        ),
        Case("POST /v1/models/m/versions/50/labels/L:regress", "", 400, "Malformed request"),
        Case(
            "POST /v1/models/none:predict", '{ "instances": [1] }', 404, "Servable not found for request: Latest(none)"
        ),
        Case(
            "POST /v1/models/m/versions/99:predict",
            '{ "instances": [1] }',
            404,
            "Servable not found for request: Specific(m, 99)",
        ),
        Case(
            "POST /v1/models/m/labels/nope:predict",
            '{ "instances": ["x", "y"] }',
            400,
            "Unrecognized servable version label: nope",
        ),
        Case("GET /index", "", 404, None),
    ],
    "bodies and signatures": [
        Case("POST /v1/models/m:predict", "", 400, "JSON Parse error: The document is empty"),
        Case("POST /v1/models/m:predict", "instances = [1, 2]", 400, "JSON Parse error: Invalid value. at offset: 0"),
        Case("POST /v1/models/m:predict", "[1]", 400, "Is not object"),
        Case(
            "POST /v1/models/m:predict",
            '{ "signature_name": 100 }',
            400,
            "'signature_name' key must be a string value.",
        ),
        Case(
            "POST /v1/models/m:predict",
            '{"signature_name":"nope","instances":[1]}',
            400,
            'Serving signature name: "nope" not found in signature def',
        ),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[1]}X',
            200,
            '{"predictions":[2.5]}',
            stricter="JSON Parse error: Extra data at offset: 17",
        ),
    ],
    "rows": [
        Case("POST /v1/models/m:predict", "{}", 400, "Missing 'inputs' or 'instances' key"),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[1],"inputs":[1]}',
            400,
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist",
        ),
        Case("POST /v1/models/m:predict", '{"instances":1}', 400, "Expecting 'instances' to be an list/array"),
        Case("POST /v1/models/m:predict", '{"instances":[]}', 400, "No values in 'instances' array"),
        Case("POST /v1/models/m:predict", '{"instances":[1],"nested":[[]]}', 200, '{"predictions":[2.5]}'),
        Case("POST /v1/models/m:predict", '{"instances":["x","y"]}', 400, "not of expected type: float"),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":["x"]}',
            400,
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
            'JSON Value: "x" Type: String is not of expected type: float',
        ),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[[1.0,2.0],[3.0,4.0]]}',
            200,
            '{"predictions":[[2.5,3.0],[3.5,4.0]]}',
        ),
        Case("POST /v1/models/m/versions/123:predict", '{"instances":[1.0,2.0]}', 200, '{"predictions":[2.5,3.0]}'),
        Case("POST /v1/models/m/labels/L:predict", '{"instances":[1.0,2.0]}', 200, '{"predictions":[2.5,3.0]}'),
        Case(
            "POST /v1/models/m/versions/123:predict",
            '{"signature_name":"serving_default","instances":[3.0,4.0]}',
            200,
            '{"predictions":[3.5,4.0]}',
        ),
        Case("POST /v1/models/m:predict", '{"instances":[{"x":1.0},{"x":2.0}]}', 200, '{"predictions":[2.5,3.0]}'),
        Case(
            "POST /v1/models/m:predict", '{"instances":[{"z":1.0}]}', 400, "JSON object: does not have named input: z"
        ),
    ],
    "columns": [
        Case(
            "POST /v1/models/m/versions/123:predict",
            '{"signature_name":"serving_default","inputs":[3.0,4.0]}',
            200,
            '{"outputs":[3.5,4.0]}',
        ),
        Case("POST /v1/models/m:predict", '{"inputs":{"x":[1.0,2.0],"extra":[1]}}', 200, '{"outputs":[2.5,3.0]}'),
        Case("POST /v1/models/m:predict", '{"inputs":{"z":[1.0]}}', 400, "Missing named input: x in 'inputs' object."),
    ],
    "whole numbers, and lists that do not fit each other": [
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[[1,2],[3,4],[5,6,7]]}',
            400,
            "Expecting tensor size: 2 but got: 3",
            model="int32",
        ),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[[1,2],[3,4],[[5,6]]]}',
            400,
            "Expecting shape [2] but got: [1,2]",
            model="int32",
        ),
        Case(
            "POST /v1/models/m:predict", '{"instances":[1,[1]]}', 400, "Expecting shape [] but got: [1]", model="int32"
        ),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[[1,2],["a","b"]]}',
            400,
            "not of expected type: int32",
            model="int32",
        ),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[1.0]}',
            400,
            "Type: Number is not of expected type: int32",
            model="int32",
        ),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[[[1,2],[3]]]}',
            400,
            "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
            model="int32",
        ),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[[1,[2]]]}',
            400,
            "Encountered list at unexpected level: 1 expected < 1",
            model="int32",
        ),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[[[1],2]]}',
            400,
            "found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
            model="int32",
        ),
    ],
    "numbers": [
        Case("POST /v1/models/m:predict", '{"instances":[1, 2.0, 3, 4, 5.003, 0.007, 0.0]}', 200, None, model="float"),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[1.7976931348623157e308]}',
            200,
            None,
            model="float",
            stricter="instances[0]: the number is beyond the range of float32",
        ),
        Case("POST /v1/models/m:predict", '{"instances":[2.2250738585072014e-308]}', 200, None, model="float"),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[NaN, Infinity, -Infinity]}',
            200,
            None,
            model="float",
            stricter="instances[0]: expected a number, got NaN",
        ),
    ],
    "strings": [
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[{"b64":"aGVsbG8="},{"b64":"d29ybGQ="}]}',
            200,
            None,
            model="string",
        ),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[[{"b64":"aGVsbG8="}],[{"b64":"d29ybGQ="}]]}',
            200,
            None,
            model="string",
        ),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[["baz","bar"],{"default":["baz","bat"]}]}',
            400,
            "Expecting value/list but got object at item 1 of input list",
            model="string",
        ),
        Case(
            "POST /v1/models/m:predict", '{"instances":[{"b64":"%%%"}]}', 400, "Unable to base64 decode", model="string"
        ),
    ],
    "several inputs": [
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[{"int_tensor":[1],"str_tensor":["a"]},[1,20,30]]}',
            400,
            "Expecting object but got list at item 1 of input list",
            model="int and string",
        ),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[[1]]}',
            400,
            "instances is a plain list, but expecting list of objects "
            "as multiple input tensors required as per tensorinfo_map",
            model="int and string",
        ),
        Case(
            "POST /v1/models/m:predict",
            '{"inputs":[1]}',
            400,
            "inputs is a plain value/list, but expecting an object "
            "as multiple input tensors required as per tensorinfo_map",
            model="int and string",
        ),
        Case(
            "POST /v1/models/m:predict",
            '{"instances":[{"int_tensor":[1]}]}',
            400,
            "keys must be equal to: int_tensor,str_tensor",
            model="int and string",
        ),
    ],
    "classify and regress": [
        Case(
            "POST /v1/models/m:regress",
            '{"signature_name": "regress_x_to_y", "examples": [ { "x": 80.0 } ] }',
            200,
            '{"results":[42.0]}',
        ),
        Case(
            "POST /v1/models/m:classify",
            '{"signature_name": "classify_x_to_y", "examples": [ { "x": 20.0 } ] }',
            200,
            '{"results":[[["",12.0]]]}',
        ),
    ],
    "status and metadata": [
        Case(
            "GET /v1/models/m",
            "",
            200,
            '{"model_version_status":[{"version":"123","state":"AVAILABLE","status":{"error_code":"OK","error_message":""}}]}',
        ),
        Case(
            "GET /v1/models/m/versions/123",
            "",
            200,
            '{"model_version_status":[{"version":"123","state":"AVAILABLE","status":{"error_code":"OK","error_message":""}}]}',
        ),
        Case(
            "GET /v1/models/m/labels/L",
            "",
            200,
            '{"model_version_status":[{"version":"123","state":"AVAILABLE","status":{"error_code":"OK","error_message":""}}]}',
        ),
        Case("GET /v1/models/none", "", 404, "Could not find any versions of model none"),
        Case("GET /v1/models/m/versions/9", "", 404, "Could not find version 9 of model m"),
        Case("GET /v1/models/m/metadata", "", 200, '"signature_def": {'),
        Case("OPTIONS /v1/models/m", "", 400, None),
    ],
}
