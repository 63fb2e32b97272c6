"""Settings on the command line."""

import argparse
import re
from pathlib import Path

import pytest

from cli.lib.project import UsageError
from cli.lib.settings import add_settings, check_files, settings_of


def test_each_setting_is_a_pair(capsys: pytest.CaptureFixture[str]) -> None:
    """`-c` may be repeated, splits at the first equals sign, and rejects a text without one."""
    parser = argparse.ArgumentParser()
    add_settings(parser)
    assert parser.parse_args(["-c", "a=1", "-c", "b=x=y"]).set == [("a", "1"), ("b", "x=y")]
    with pytest.raises(SystemExit):
        parser.parse_args(["-c", "a"])
    assert "'a' is not NAME=VALUE" in capsys.readouterr().err


def test_a_stage_with_changes() -> None:
    """The stage's settings are changed. An invalid one is an error of the command."""
    assert settings_of("prod", {"parallel": "3"}).parallel == 3
    with pytest.raises(UsageError, match="parallel=0: must be a whole number from 1 to 256"):
        settings_of("prod", {"parallel": "0"})


def test_the_settings_of_cdk_json_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cdk deploy` reads them, so they are checked here, too. The command line changes them."""
    monkeypatch.setattr("cli.lib.settings.ROOT", tmp_path)
    (tmp_path / "cdk.json").write_text('{"context": {"parallel": 3, "@aws-cdk/x:y": true}}')
    assert settings_of("prod", {}).parallel == 3
    assert settings_of("prod", {"parallel": "4"}).parallel == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"context": {"parallell": 3}}', 'cdk.json, "context": parallell: there is no such'),
        ('{"context": {"parallel": 0}}', 'cdk.json, "context": parallel=0: must be'),
        ('{"context": {"weights": "no.gguf"}}', 'cdk.json, "context": weights=no.gguf: there is'),
        ('{"context": []}', 'cdk.json, "context" is not a JSON object'),
        ("[]", "the file is not a JSON object"),
        ('{\n  "context": {},,\n}', "cdk.json, line 2, column 17: it is not JSON: Expecting"),
        ("", "cdk.json, line 1, column 1: it is not JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_in_cdk_json_is_told_with_its_place(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is wrong input, as on the command line, so the status is 2."""
    monkeypatch.setattr("cli.lib.settings.ROOT", tmp_path)
    (tmp_path / "cdk.json").write_text(text)
    with pytest.raises(UsageError, match=re.escape(said)):
        check_files(settings_of("dev", {}), {})


def test_another_stage_is_refused() -> None:
    """It would have been ignored silently, because the command names the stage."""
    with pytest.raises(UsageError, match="this is about the stage local"):
        settings_of("local", {"stage": "prod"})
    assert settings_of("prod", {"stage": "prod"}).stage == "prod"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": "nowhere.gguf"}, "weights=nowhere.gguf: there is no such file"),
        (
            {"weights": "demo_model/weights"},
            "weights=demo_model/weights: is a folder; put it into S3",
        ),
        ({"weights": "README.gguf"}, "there is no such file"),
        (
            {
                "container": "vllm",
                "instance_type": "ml.g6.xlarge",
                "weights": "hf:o/m",
                "environment": '{"SM_VLLM_MAX_MODEL_LEN": "4"}',
            },
            "set it by the setting context_tokens",
        ),
    ],
)
def test_what_the_synthesis_would_refuse(changes: dict[str, object], said: str) -> None:
    """A local file that is missing, and a contradiction in `environment`, are errors."""
    with pytest.raises(UsageError, match=said):
        check_files(settings_of("dev", changes), changes)
    check_files(settings_of("dev", {}), {})
