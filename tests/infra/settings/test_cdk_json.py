"""The settings in cdk.json."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.settings import cdk_json
from infra.settings.fields import SettingsError


def test_the_context_is_read_with_and_without_a_mark_of_its_encoding(tmp_path: Path) -> None:
    """The CDK CLI reads both."""
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "cdk.json").write_bytes(mark + b'{"context": {"parallel": 3}}')
        assert cdk_json.read(tmp_path) == {"parallel": 3}
    (tmp_path / "cdk.json").write_text("{}")
    assert cdk_json.read(tmp_path) == {}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"context":\n {"a": "\xff"}}', "cdk.json, line 2, column 9: a byte that is not UTF-8"),
        (b"\xff", "cdk.json, line 1, column 1: a byte that is not UTF-8"),
        (b'{"context": 1', "cdk.json, line 1, column 14: it is not JSON"),
        (b'{"context": null}', "is not a JSON object"),
        (
            b'{"context": {"parallel": -' + b"1" * 5000 + b"}}",
            "a number in it has over 4,300 digits",
        ),
        (b'{"context": ' + b"[" * 100_000, "cdk.json is nested too deeply"),
    ],
    ids=["byte", "first byte", "half", "null", "long number", "deep"],
)
def test_a_broken_file_is_told_by_line_and_column(tmp_path: Path, data: bytes, said: str) -> None:
    """The message says where to look, and how to see what was changed."""
    (tmp_path / "cdk.json").write_bytes(data)
    with pytest.raises(SettingsError) as caught:
        cdk_json.read(tmp_path)
    assert said in str(caught.value)
    assert "`git diff cdk.json`" in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Whether it is missing or a folder."""
    with pytest.raises(SettingsError, match=r"cdk\.json cannot be read: No such file"):
        cdk_json.read(tmp_path)
    (tmp_path / "cdk.json").mkdir()
    with pytest.raises(SettingsError, match=r"cdk\.json cannot be read: Is a directory"):
        cdk_json.read(tmp_path)


def _attempt(context: Mapping[str, object]) -> None:
    """Refuse a context with `bad`, and one with both `left` and `right`."""
    if "bad" in context:
        raise SettingsError(f"bad={context['bad']}: must be good")
    if {"left", "right"} <= context.keys():
        raise SettingsError("left: not with right")


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ({}, {"bad": 1}, "bad=1: must be good"),
        ({"bad": 1}, {}, 'cdk.json, "context": bad=1: must be good'),
        ({"bad": 1}, {"bad": 2}, "bad=2: must be good"),
        ({"left": 1, "right": 1}, {"c": 1}, 'cdk.json, "context": left: not with right'),
        (
            {"left": 1, "other": 2, "@aws-cdk/x:y": True},
            {"right": 1},
            'left: not with right (cdk.json, "context", sets left)',
        ),
    ],
)
def test_an_error_names_cdk_json_if_the_value_stands_there(
    file: Mapping[str, object], changes: Mapping[str, object], said: str
) -> None:
    """A value of the command line comes before it. Where two contradict each other, both count."""
    with pytest.raises(SettingsError) as caught:
        _attempt({**file, **changes})
    assert cdk_json.placed(caught.value, _attempt, file=file, changes=changes) == said
