"""`sluice preflight`, against moto with the quotas of a new account."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cli.commands.preflight import Finding, _region, findings, reserved_by
from cli.main import main
from infra.functions.image_check import DOCKER
from infra.settings.context import settings_from_context
from local.moto import service_quotas

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
OCI = "application/vnd.oci.image.manifest.v1+json"
GPU = {"container": "vllm", "instance_type": "ml.g6.12xlarge", "weights": "hf:org/model"}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run moto as a new account, on a machine whose container engines answer."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("CDK_DOCKER", "BUILDAH_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("local.sagemaker.engine.refusal", lambda engine: None)
    service_quotas.install()
    with mock_aws():
        yield


def look(*, region: str = "eu-central-1", **context: object) -> list[Finding]:
    """Return the findings for a deployment."""

    def client(service: str, **more: str) -> Any:
        return boto3.client(service, **{"region_name": region, **more})

    return list(findings(settings_from_context(context), client))


def one(findings: list[Finding], words: str) -> Finding:
    """Return the one finding that contains these words."""
    [it] = [it for it in findings if words in it.message]
    return it


@pytest.mark.usefixtures("account")
def test_a_new_account_has_no_gpu() -> None:
    """A missing quota comes with the command that requests it.

    The quota must include the second instances of an update.
    """
    it = one(look(**GPU, stage="prod"), "for endpoint usage")
    assert not it.good
    assert (
        it.message == "0 ml.g6.12xlarge for endpoint usage; 4 are needed, with those of an update"
    )
    assert it.commands == (
        (
            "aws service-quotas request-service-quota-increase --service-code sagemaker "
            "--quota-code L-MLG612XLARGE --desired-value 4"
        ),
    )
    assert one(look(**GPU, scale_to_zero="true"), "for endpoint usage").message.startswith(
        "0 ml.g6.12xlarge"
    )


@pytest.mark.usefixtures("account")
def test_what_dev_needs_is_there() -> None:
    """A new account has what the default stage needs, except that CDK must be bootstrapped."""
    findings = look()
    assert one(findings, "ml.c5.large for endpoint usage").good
    assert one(findings, "1,000 functions at once").good
    assert one(findings, "region eu-central-1").good
    bootstrap = one(findings, "CDK is not bootstrapped in eu-central-1")
    assert (bootstrap.good, bootstrap.commands) == (False, ("npx cdk bootstrap -c stage=dev",))


@pytest.mark.usefixtures("account")
def test_programs_read_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--json` the findings are the whole output, and one that is missing is still a 1."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert main(["preflight", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)
    assert [it["commands"] for it in findings if not it["good"] and not it["warning"]] == [
        ["npx cdk bootstrap -c stage=dev"]
    ]


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        ([()], "Not met: 1 requirement. No command can request what is missing."),
        ([("a",), ()], "Not met: 2 requirements. The commands above request a part of what is"),
        ([("# a",), ()], "Not met: 2 requirements. The lines above say what to do."),
        ([("a",), ("# b",)], "Not met: 2 requirements. The commands above request a part of what"),
        ([("a",), ("b", "c")], "Not met: 2 requirements. The commands above request what is"),
    ],
)
@pytest.mark.usefixtures("account")
def test_the_last_line_speaks_of_commands_only_if_there_are_any(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    commands: list[tuple[str, ...]],
    said: str,
) -> None:
    """Those of what is there, or of a warning, do not count."""
    found = [
        Finding("there", good=True, commands=("d",)),
        Finding("useful", good=False, commands=("e",), warning=True),
        *(Finding("missing", good=False, commands=it) for it in commands),
    ]
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setattr("cli.commands.preflight.findings", lambda *_: iter(found))
    assert main(["preflight"]) == 1
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_stage_of_the_local_cloud_lacks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """`make deploy STAGE=local` begins with this, and is told what deploys there."""
    assert main(["preflight", "--stage", "local"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "`sluice up` deploys it into the local cloud" in said


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("quota", "reserved", "good", "warning"),
    [
        (1000, "200", True, False),
        (410, "200", False, False),
        (411, "200", True, False),
        (10, "none", False, True),
        (60, "none", True, True),
    ],
)
def test_concurrency_must_not_all_be_reserved(
    monkeypatch: pytest.MonkeyPatch, quota: int, reserved: str, good: bool, warning: bool
) -> None:
    """A reserved concurrency must leave the hundred that Lambda keeps.

    If none is reserved, a small account is only a warning.
    """
    monkeypatch.setattr(service_quotas, "value", lambda name: quota)
    it = one(look(reserved_concurrency=reserved), "functions at once")
    assert (it.good, it.warning) == (good, warning)
    assert "--service-code lambda --quota-code L-B99A9384 --desired-value 1000" in it.commands[0]


@pytest.mark.usefixtures("account")
def test_an_endpoint_that_exists_needs_no_quota() -> None:
    """Somebody else's endpoint must be in service. Nothing more is checked of it."""
    findings = look(endpoint_name="theirs")
    assert not one(findings, "the endpoint theirs is not there").good
    assert not [it for it in findings if "endpoint usage" in it.message]


@pytest.mark.usefixtures("account")
def test_weights_secret_and_certificate_are_looked_for() -> None:
    """For each missing thing that the settings name, a command to create it is printed."""
    findings = look(
        **GPU, huggingface_secret="token", domain="api.example.org", certificate_arn=CERTIFICATE
    )
    assert "create-secret --name token" in one(findings, "there is no secret token").commands[0]
    assert (
        "request-certificate"
        in one(findings, "certificate of api.example.org is not there").commands[0]
    )
    boto3.client("secretsmanager", region_name="eu-central-1").create_secret(
        Name="token", SecretString="hf"
    )
    assert one(look(**GPU, huggingface_secret="token"), "the secret token is there").good

    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="models")
    location = {**GPU, "weights": "s3://models/one/"}
    assert one(look(**location), "are not there").commands == (
        "sluice model push DIR --to s3://models/one/",
    )
    s3.put_object(Bucket="models", Key="one/config.json", Body=b"{}")
    assert one(look(**location), "s3://models/one/ are there").good


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
HF = {**GPU, "weights": "s3://models/m/"}
CPU = {"weights": "s3://models/m/"}
TENSORS = b"\0" * 2000


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("context", "objects", "said"),
    [
        (CPU, {"a-00001-of-00002.gguf": b"GGUF"}, "a-00002-of-00002.gguf is not there"),
        (CPU, {"a.gguf": b"GGUF", "b.gguf": b"GGUF"}, "there are a.gguf, b.gguf; choose one by"),
        (CPU, {"mmproj-a.gguf": b"GGUF"}, "the model itself is missing"),
        (CPU, {"a.gguf": b""}, "a.gguf is empty"),
        (CPU, {"a.gguf": POINTER}, "a.gguf is a Git LFS pointer, not the weights"),
        (CPU, {"a.gguf": b"\0" * 99}, "a.gguf is not a GGUF file"),
        (CPU, {"config.json": b"{}", "model.safetensors": TENSORS}, "set engine=vllm"),
        (HF, {"config.json": b"{}"}, "no weights"),
        (HF, {"a.gguf": b"GGUF"}, "is a GGUF model, which engine=llama_cpp serves"),
        (HF, {"config.json": b"{}", "model.safetensors": TENSORS}, "no tokenizer"),
        (
            HF,
            {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": POINTER},
            "model.safetensors is a Git LFS pointer",
        ),
        (
            HF,
            {"s/config.json": b"{}", "s/tokenizer.json": b"{}", "s/model.safetensors": TENSORS},
            "the model is in the folder s; let the setting weights end in s/",
        ),
    ],
)
def test_weights_that_would_not_load(
    context: dict[str, Any], objects: dict[str, bytes], said: str
) -> None:
    """What the container would find wrong with the weights is found before the deployment."""
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="models")
    for name, body in objects.items():
        s3.put_object(Bucket="models", Key=f"m/{name}", Body=body)
    it = one(look(**context), said)
    assert not it.good
    assert it.message.startswith("weights=s3://models/m/: ")


@pytest.mark.usefixtures("account")
def test_weights_that_load() -> None:
    """Whole models have no further finding, whatever stands beside them."""
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="models")
    for name in ("gguf/", "gguf/q/a-00001-of-00002.gguf", "gguf/q/a-00002-of-00002.gguf",
                 "gguf/mmproj-a.gguf", "one/a.gguf", "one/a.gguf.part"):  # fmt: skip
        s3.put_object(Bucket="models", Key=name, Body=b"GGUF")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        s3.put_object(Bucket="models", Key=f"hf/{name}", Body=TENSORS)
    for context in (
        {"weights": "s3://models/gguf/"},
        {"weights": "s3://models/one/a.gguf"},
        {**GPU, "weights": "s3://models/hf/"},
    ):
        assert one(look(**context), "the weights s3://models").good
        assert not [it for it in look(**context) if it.message.startswith("weights=")]


@pytest.mark.usefixtures("account")
def test_a_domain_whose_certificate_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the domain's certificate is made, its zone must be the named one.

    CDK must be bootstrapped in the certificate's region, too.
    """
    domain = {"domain": "api.example.org"}
    findings = look(**domain, hosted_zone="Z1:example.org")
    assert one(findings, "the hosted zone Z1 is not there").commands == (
        "aws route53 list-hosted-zones",
    )
    command = "npx cdk bootstrap aws://123456789012/us-east-1 -c stage=dev"
    assert one(findings, "CDK is not bootstrapped in us-east-1").commands == (command,)
    monkeypatch.setattr(
        "moto.route53.models.create_route53_zone_id", lambda **_: "Z1"
    )  # moto's ids begin with any letter
    boto3.client("route53", region_name="us-east-1").create_hosted_zone(
        Name="example.org", CallerReference="x"
    )
    assert one(
        look(**domain, hosted_zone="Z1:example.org"), "the hosted zone Z1 is example.org."
    ).good
    findings = look(domain="api.example.net", hosted_zone="Z1:example.net")
    assert not one(findings, "the hosted zone Z1 is example.org., not example.net").good


@pytest.mark.usefixtures("account")
def test_the_engine_that_builds_the_image_must_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine that CDK will call must answer.

    If it does not, the message names an engine that does, and the way to do without one.
    """
    answers = {"docker": "Cannot connect to the Docker daemon", "podman": None}
    monkeypatch.setattr("local.sagemaker.engine.refusal", answers.get)
    it = one(look(), "by docker: Cannot connect to the Docker daemon")
    assert not it.good
    assert it.commands == (
        "export CDK_DOCKER=podman BUILDAH_FORMAT=docker",
        "# or deploy with -c image_build=codebuild",
    )
    assert one(look(image_build="codebuild"), "built by CodeBuild").good
    monkeypatch.setenv("CDK_DOCKER", "podman")
    it = one(look(), "the image is built here, by podman, as an OCI image")
    assert (it.good, it.commands) == (False, ("export BUILDAH_FORMAT=docker",))
    monkeypatch.setenv("BUILDAH_FORMAT", "docker")
    assert one(look(), "the image is built here, by podman").good


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("region", "context", "words"),
    [
        ("il-central-1", {}, "Lambda has no function URLs in il-central-1"),
        ("ap-southeast-7", {}, "Lambda has no function URLs in ap-southeast-7"),
        ("eu-west-3", {**GPU, "scale_to_zero": "true"}, "were reported to need an instance"),
        ("us-gov-west-1", {}, "us-gov-west-1 is outside the partition aws"),
        (
            "cn-north-1",
            {"domain": "a.example.org", "certificate_arn": CERTIFICATE},
            "no certificate for a.example.org",
        ),
        ("ap-southeast-6", GPU, "AWS has no image of container=vllm in ap-southeast-6"),
    ],
)
def test_a_region_must_offer_what_is_deployed(
    region: str, context: dict[str, str], words: str
) -> None:
    """What the region lacks is said before a deployment fails on it."""
    it = one(look(region=region, **context), words)
    assert not it.good
    assert it.warning == ("reported" in words)


@pytest.mark.usefixtures("account")
def test_common_regions_offer_everything() -> None:
    """The usual regions have no finding."""
    for region in ("us-east-1", "eu-central-1", "ap-northeast-1"):
        assert {
            it.message for it in _region(settings_from_context({**GPU, "stage": "dev"}), region)
        } == set()


@pytest.mark.usefixtures("account")
def test_a_log_group_that_is_left_over() -> None:
    """CloudFormation cannot make a log group that exists, unless the stack itself has made it."""
    name = "/aws/sagemaker/Endpoints/sluice-dev"
    boto3.client("logs", region_name="eu-central-1").create_log_group(logGroupName=name)
    it = one(look(), f"the log group {name} is left from an earlier endpoint")
    assert (it.good, it.commands) == (
        False,
        (f"aws logs delete-log-group --log-group-name {name}",),
    )
    boto3.client("logs", region_name="eu-central-1").delete_log_group(logGroupName=name)
    group = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": name}}
    boto3.client("cloudformation", region_name="eu-central-1").create_stack(
        StackName="sluice-dev-service", TemplateBody=json.dumps({"Resources": {"Log": group}})
    )
    assert [it for it in look() if "log group" in it.message] == []


@pytest.mark.usefixtures("account")
def test_an_image_that_exists_must_be_one_that_sagemaker_takes() -> None:
    """`image_uri` must name an image with Docker's manifest."""
    ecr = boto3.client("ecr", region_name="eu-central-1")
    uri = ecr.create_repository(repositoryName="own")["repository"]["repositoryUri"]
    for tag, kind in (("oci", OCI), ("docker", DOCKER)):
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": {"digest": tag}, "layers": []}
        ecr.put_image(repositoryName="own", imageManifest=json.dumps(manifest), imageTag=tag,
                      imageManifestMediaType=kind)  # fmt: skip
    refused = one(look(image_uri=f"{uri}:oci"), "SageMaker rejects the image")
    assert not refused.good
    assert "BUILDAH_FORMAT=docker" in refused.message
    assert one(look(image_uri=f"{uri}:docker"), "is one that SageMaker takes").good
    assert not one(look(image_uri=f"{uri}:none"), "There is no image").good
    assert not one(look(image_uri=uri.replace("/own", "/other") + ":a"), "repository").good


@pytest.mark.usefixtures("account")
def test_what_the_stacks_reserve_is_what_preflight_counts() -> None:
    """The sum of all functions' reserved concurrency must leave what Lambda keeps."""
    settings = settings_from_context({"stage": "prod"})
    assert reserved_by(settings) == 311
    assert reserved_by(settings.replace(admin_url=False)) == 301
    assert reserved_by(settings.replace(persistence="off")) == 211
    assert reserved_by(settings.replace(reserved_concurrency=None)) is None
