"""Settings from the CDK context."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.settings.context import check_early, settings_from_context
from infra.settings.deployment import DEV, SettingsError
from tests.support.synthesis import CERTIFICATE, KEY

ROOT = Path(__file__).parents[3]
VLLM = {"container": "vllm", "instance_type": "ml.g6.xlarge", "weights": "hf:o/m"}


@pytest.mark.parametrize("stage", ["local", "dev", "prod"])
def test_a_stage_is_found_by_its_name(stage: str) -> None:
    """Each stage's name gives the settings of that stage."""
    assert settings_from_context({"stage": stage}).stage == stage


def test_the_default_stage_costs_least_on_aws() -> None:
    """The default stage is dev, which costs least on AWS."""
    assert settings_from_context({}) == DEV


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("parallel", "8", 8),
        ("tokens_per_second", "12.5", 12.5),
        ("retain", "true", True),
        ("retain", False, False),
        ("reserved_concurrency", "50", 50),
        ("reserved_concurrency", "none", None),
        ("log_retention_days", "30", 30),
        ("engine", "scripted", "scripted"),
        ("instance_type", "ml.c7i.xlarge", "ml.c7i.xlarge"),
        ("image_uri", "none", None),
        ("weights", "s3://bucket/models/one/", "s3://bucket/models/one/"),
        ("name", "other", "other"),
        ("weights", "s3://bucket/model.tar.gz", "s3://bucket/model.tar.gz"),
        ("environment", '{"A": "b c"}', {"A": "b c"}),
        ("environment", {"A": "b"}, {"A": "b"}),
        ("subnets", "none", ()),
        ("network_isolation", "false", False),
        ("scale_to_zero", "true", True),
    ],
)
def test_a_single_setting_is_overridden_and_read_by_its_type(
    name: str, text: object, value: object
) -> None:
    """One context value changes one setting and nothing else.

    It is parsed by the setting's type.
    """
    settings = settings_from_context({"stage": "dev", name: text})
    assert settings == DEV.replace(**{name: value})
    assert type(getattr(settings, name)) is type(value)


def test_several_values_and_plans_are_read() -> None:
    """A list is separated by commas and a schedule by semicolons. Both may be lists in cdk.json."""
    text = "cron(0 7 ? * MON-FRI *) 2-8; cron(0 20 ? * * *) 1"
    settings = settings_from_context(
        {"max_instances": "8", "schedule": text, "subnets": "", "security_groups": []}
    )
    assert [(plan.when, plan.minimum, plan.maximum) for plan in settings.plans] == [
        ("cron(0 7 ? * MON-FRI *)", 2, 8),
        ("cron(0 20 ? * * *)", 1, 1),
    ]
    settings = settings_from_context(
        {"subnets": "subnet-1a, subnet-2b", "security_groups": ["sg-1"]}
    )
    assert (settings.subnets, settings.security_groups) == (("subnet-1a", "subnet-2b"), ("sg-1",))


def test_another_container_has_another_image() -> None:
    """Another container does not keep the image that the stage names for its own container."""
    assert settings_from_context({**VLLM, "stage": "local"}).image_uri is None


def test_the_keys_of_cdk_itself_are_not_settings() -> None:
    """Context keys of CDK itself are ignored."""
    context = {
        "aws:cdk:bundling-stacks": ["**"],
        "@aws-cdk/core:x": True,
        "hosted-zone:account=1": "z",
    }
    assert settings_from_context(context) == DEV


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"stage": "production"}, "stage=production: must be local, dev or prod"),
        ({"engine": "vlm"}, "engine=vlm: must be llama_cpp, vllm or scripted"),
        ({"parallel": "0"}, "parallel=0: must be a whole number from 1 to 256"),
        ({"parallel": "many"}, "parallel=many: must be a whole number from 1 to 256"),
        ({"parallel": "2.5"}, "parallel=2.5: must be a whole number"),
        ({"tokens_per_second": "-1"}, "must be a number from 0 to 10000"),
        ({"tokens_per_second": "nan"}, "must be a number from 0 to 10000"),
        ({"context_tokens": "99999999"}, "must be a whole number from 64 to 1048576"),
        ({"reserved_concurrency": "0"}, "from 1 to 100000, or none"),
        ({"retain": "maybe"}, "retain=maybe: must be true or false"),
        ({"log_retention_days": "8"}, "must be 1, 7, 14, 30, 90 or 365"),
        ({"instance_type": "c5.large"}, "must be like ml.c5.large"),
        ({"image_uri": "sluice"}, "must be host/repository:tag, or none"),
        ({"weights": "s3://bucket"}, "must be a file, or s3://bucket/key"),
        ({"weights": ""}, "weights=none: there is no model in the image"),
        (
            {"weights": "hf:one"},
            "must be a file, or s3://bucket/key, or s3://bucket/prefix/, or hf:organisation/model",
        ),
        ({"weights": "hf:o/m"}, "engine=llama_cpp cannot download"),
        ({"container": "vllm"}, "container=vllm needs a GPU; ml.g6.xlarge has the cheapest"),
        (
            {"engine": "vllm", "instance_type": "ml.g6.xlarge"},
            "engine=vllm reads Hugging Face models",
        ),
        (
            {**VLLM, "network_isolation": "true"},
            "network_isolation=true: the container downloads weights=hf:o/m",
        ),
        ({"huggingface_secret": "token"}, "has an effect with weights=hf:organisation/model only"),
        ({**VLLM, "dialect": "lmi-inputs"}, "container=lmi has this dialect, vllm does not"),
        ({"environment": "A=B"}, "environment=A=B: must be a JSON object of texts"),
        (
            {"environment": '{"A-B": "x"}'},
            "environment=A-B: must be the name of an environment variable",
        ),
        ({"environment": '{"A": "' + "x" * 1025 + '"}'}, "1,024 characters each"),
        (
            {"other_models": '{"a": {"endpoint": "e"}}'},
            "other_models=a: needs endpoint, context_tokens",
        ),
        ({"other_models": '{"a": 5}'}, "must be a JSON object"),
        (
            {"max_instances": "1", "instance_count": "2"},
            "max_instances=1: must not be under instance_count=2",
        ),
        ({"schedule": "at noon"}, "must be like cron(0 7 ? * MON-FRI *) 2-8"),
        ({"schedule": "cron(0 7 ? * MON-FRI *) 2-8"}, "schedule: needs max_instances"),
        (
            {"schedule": "cron(0 7 ? * * *) 8-2", "max_instances": "9"},
            "the first number must not be over the second",
        ),
        ({"subnets": "subnet-1a"}, "subnets and security_groups: set both, or neither"),
        ({"subnets": f"subnet-{'a' * 26}"}, "must be subnet-1,subnet-2"),
        (
            {"subnets": "subnet-1,subnet-2", "security_groups": ",".join(["sg-1"] * 6)},
            "SageMaker takes 16 subnets and 5 security groups at most",
        ),
        ({"tags": '{"aws:x": "1"}'}, "is not a name of a tag"),
        ({"tags": '{"sluice:deployment": "x"}'}, "which every resource has"),
        (
            {"subnets": "subnet-1a", "security_groups": "sg-1", "stage": "prod"},
            "set subnets of two zones",
        ),
        (
            {"kms_key": KEY, "instance_type": "ml.g6.xlarge"},
            "SageMaker takes none for ml.g6.xlarge",
        ),
        (
            {"endpoint_name": "theirs", "scale_to_zero": "true"},
            "the owner of an existing endpoint scales it",
        ),
        ({"domain": "api.example.org"}, "domain=api.example.org: needs hosted_zone"),
        (
            {"domain": "api.example.org", "hosted_zone": "Z1:ample.org"},
            "is not in the zone ample.org of hosted_zone",
        ),
        ({"web_acl": "rate", "stage": "local"}, "the local cloud has no AWS WAF"),
        (
            {"web_acl": "arn:aws:wafv2:eu-west-1:123456789012:global/webacl/a/" + "0" * 36},
            "is in us-east-1",
        ),
        (
            {"web_acl": "arn:aws:wafv2:us-east-1:123456789012:regional/webacl/a/" + "0" * 36},
            "is in us-east-1",
        ),
        ({"web_acl": "true"}, "must be rate, or the ARN of a web ACL for CloudFront"),
        ({"web_acl_rate": "9"}, "must be a whole number from 10 to 2000000000"),
        ({"web_acl_admin_rate": "9"}, "must be a whole number from 10 to 2000000000"),
        ({"web_acl_admin_rate": "2000000001"}, "must be a whole number from 10 to 2000000000"),
        ({"weights_sha256": "A" * 64}, "64 hexadecimal digits"),
        ({"weights_sha256": "a" * 64, "weights": "s3://models/one/"}, "for one GGUF file"),
        (
            {
                "weights_sha256": "a" * 64,
                "engine": "vllm",
                "instance_type": "ml.g6.xlarge",
                "weights": "hf:a/b",
            },
            "GGUF",
        ),
        ({"certificate_arn": CERTIFICATE.replace("us-east-1", "eu-west-1")}, "of ACM in us-east-1"),
        ({"redact": "email,fax"}, "redact=email,fax: must be some of"),
        ({"name": "My_Stack"}, "must be a lower-case letter, then"),
        ({"python_version": "2.7"}, "must be 3.11 or newer"),
        ({"instnce_type": "ml.c5.large"}, "Did you mean instance_type?"),
        ({"colour": "blue"}, "docs/reference/settings.md lists all."),
    ],
)
def test_an_unknown_or_absurd_setting_is_refused_with_the_choices(
    context: dict[str, object], message: str
) -> None:
    """The error names the setting, its value and the accepted values."""
    with pytest.raises(SettingsError) as caught:
        settings_from_context(context)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_setting_ends_the_app_before_cdk_is_loaded() -> None:
    """`cdk` gets one line within the time that Python and the settings take to load."""
    script = (
        "import sys, runpy\n"
        "try:\n    runpy.run_path('app.py')\n"
        "finally:\n    assert 'aws_cdk' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"CDK_CONTEXT_JSON": '{"stage": "dev", "parallell": "3"}', "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("sluice: parallell: there is no such setting. Did you mean")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"parallel": 0}, 'sluice: cdk.json, "context": parallel=0: must be'),
        ({"parallel": "0"}, "sluice: parallel=0: must be"),
    ],
)
def test_the_cdk_cli_is_told_where_a_wrong_setting_stands(
    context: dict[str, object], said: str, tmp_path: Path
) -> None:
    """The CLI merges cdk.json with `-c`, whose values are texts."""
    (tmp_path / "cdk.json").write_text('{"context": {"parallel": 0}}')
    with pytest.raises(SystemExit) as ended:
        check_early({"CDK_CONTEXT_JSON": json.dumps(context)}, tmp_path)
    assert str(ended.value.code).startswith(said)
    (tmp_path / "cdk.json").unlink()
    with pytest.raises(SystemExit, match=r"^sluice: parallel=0"):
        check_early({"CDK_CONTEXT_JSON": json.dumps(context)}, tmp_path)
