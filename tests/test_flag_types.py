"""The values that the types of flags make of text, and the messages for text that they do not take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from serialization.flag_types import (
    NamedPath,
    parse_file,
    parse_named_path,
    parse_new_file,
    parse_numbers,
    parse_origins,
    parse_path_prefix,
    parse_renaming,
    parse_tags,
    parse_tensors,
    parse_word,
)
from serialization.graph.signature import split_tensors
from serialization.project import parse_path
from serialization.run.given_feeds import Feed, parse_feed


@pytest.mark.parametrize(
    ("text", "feed"),
    [
        ("[[1,2],[3,4.5]]", Feed(None, [[1, 2], [3, 4.5]], None)),
        ("x=[1]", Feed("x", [1], None)),
        ("a/b:0=true", Feed("a/b:0", True, None)),
        ('"a=b"', Feed(None, "a=b", None)),
        ('x="a=b"', Feed("x", "a=b", None)),
        ("7", Feed(None, 7, None)),
        ("@a=b.npy", Feed(None, None, Path("a=b.npy"))),
        ("x=@rows.npy", Feed("x", None, Path("rows.npy"))),
        ('{"x": [1], "y": 2}', Feed(None, {"x": [1], "y": 2}, None)),
    ],
)
def test_feed_flags_are_parsed(text: str, feed: Feed) -> None:
    assert parse_feed(text) == feed


def test_named_paths_are_parsed() -> None:
    assert parse_named_path("house=models/house") == NamedPath("house", Path("models/house"))
    assert parse_named_path("a=b=c.pb").path == Path("b=c.pb")
    for text in ("house", "house=", "=models/house", "a/b=c", "a b=c"):
        with pytest.raises(ValueError, match="expected"):
            parse_named_path(text)


def test_prefixes_and_origins_are_parsed() -> None:
    assert [parse_path_prefix(text) for text in ("", "/toy", "/models/toy/")] == ["", "/toy", "/models/toy"]
    assert [parse_origins(text) for text in ("", "*", "https://a.example", "http://b:81, https://a.example")] == [
        "",
        "*",
        "https://a.example",
        "http://b:81,https://a.example",
    ]


def test_tensor_names_are_parsed() -> None:
    assert split_tensors("x, y=a/b:1,^z") == [("x", "x:0"), ("y", "a/b:1"), ("^z", "z:0")]
    assert split_tensors("") == []


WRONG: list[tuple[Any, str, str]] = [
    (parse_feed, "[[1,2", "expected JSON or @FILE, got '[[1,2': Expecting ',' delimiter"),
    (parse_feed, "x=hello", """Expecting value: line 1 column 1 (char 0); a string needs quotes: '"hello"'"""),
    (parse_feed, "hello", """a string needs quotes: '"hello"'"""),
    (parse_feed, "rows.npy", "expected JSON or @FILE, got 'rows.npy'; a file is named as @rows.npy"),
    (parse_feed, "x=my/rows.json", "expected JSON or @FILE, got 'my/rows.json'; a file is named as @my/rows.json"),
    (parse_feed, "=[1]", "expected KEY=VALUE, got '=[1]'"),
    (parse_feed, "", "expected JSON or @FILE, got ''"),
    (parse_feed, "x=", "expected JSON or @FILE, got ''"),
    (parse_feed, "@", "expected a path"),
    (parse_feed, '{"x": 1, "x": 2}', "the key 'x' is there twice"),
    (parse_feed, "[" * 100_000, "nested too deep"),
    (parse_tensors, "=x", "expected NAME or KEY=NAME, comma separated, got '=x'"),
    (parse_tensors, "x,", "got '' in 'x,'"),
    (parse_tensors, "x:first", "got 'x:first'"),
    (parse_tensors, "a=x,a=y", "two tensors have the key a in 'a=x,a=y'; give them different ones with KEY=NAME"),
    (parse_tags, "serve,,gpu", "expected tags, comma separated, got 'serve,,gpu'"),
    (parse_renaming, "old", "expected OLD=NEW, the checkpoint's name and then another one, got 'old'"),
    (parse_renaming, "old=old", "expected OLD=NEW, the checkpoint's name and then another one, got 'old=old'"),
    (parse_renaming, "=", "expected OLD=NEW, the checkpoint's name and then another one, got '='"),
    (parse_word, " ", "expected a name, got an empty word"),
    (parse_path, "", "expected a path, got an empty word"),
    (parse_path, f"{__file__}/", f"{__file__}/ is no folder; leave out the slash at its end"),
    (parse_new_file, ".", ". is a folder; name a file in it"),
    (parse_file, "new.pb/.", "new.pb/. is no folder; leave out the slash at its end"),
    (
        parse_feed,
        "x=@gs://bucket/x.npy",
        "expected a path on this machine, got 'gs://bucket/x.npy'; copy what is at gs:// here first",
    ),
    (parse_numbers(), "1,red", "expected a number, or several, comma separated, got '1,red'"),
    (parse_numbers(nonzero=True), "1,0", "expected a number other than 0"),
    *((parse_path_prefix, text, f"expected a path such as /models/toy, got {text!r}") for text in ("toy", "/", "/a b")),
    *(
        (parse_origins, text, f"expected *, or origins such as https://example.org, comma separated, got {text!r}")
        for text in ("example.org", "https://example.org/", "https://*.example.org", "*,https://example.org")
    ),
]


@pytest.mark.parametrize(("parse", "text", "message"), WRONG)
def test_wrong_values_are_refused(parse: Any, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse(text)
    assert len(str(caught.value)) < 300
