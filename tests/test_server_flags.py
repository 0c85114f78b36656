"""The flags of the server: in no other script, and with values that are looked at before a model is loaded."""

from __future__ import annotations

import pytest
from conftest import SCRIPTS, Run

from serialization.server_flags import SERVER_FLAGS

WRONG = {
    "host": "",
    "port": "65536",
    "grpc-port": "-1",
    "workers": "0",
    "timeout": "0",
    "grace": "a while",
    "model": "no_path",
    "model-name": "a/b",
    "path-prefix": "without/slash",
    "cors-origin": "example.org",
    "nonfinite": "nan",
    "log-format": "xml",
}


def test_no_other_script_has_them(run: Run) -> None:
    for script in SCRIPTS:
        flags = {word for word in run(script, "--help").stdout.split() if word.startswith("--")}
        shared = flags & {f"--{name}" for name in SERVER_FLAGS}
        assert len(shared) == (len(SERVER_FLAGS) if script == "freezemodel_serve" else 0), script


@pytest.mark.parametrize("flag", WRONG)
def test_a_wrong_value_is_refused(run: Run, flag: str) -> None:
    done = run("freezemodel_serve", f"--{flag}", WRONG[flag], "--frozen-model", "not_there.pb")
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: argument --{flag}: ")
