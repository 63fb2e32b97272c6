"""Fixtures: the synthesised stacks."""

import json
from pathlib import Path

import pytest

from tests.support.synthesis import CERTIFICATE, KEY, STAGES, WEB_ACL, Synthesis, synthesise


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with only the files that a synthesis reads.

    So templates depend on no other part of this repository.
    """
    root = tmp_path_factory.mktemp("project")
    for path, text in {
        "lambda_fn/__init__.py": "",
        "lambda_fn/bootstrap": "#!/bin/sh\n",
        "lambda_fn/control/handler.py": "",
        "locks/control.txt": "",
        "locks/function.txt": "",
        "locks/model.txt": "",
        "locks/uvloop.txt": "",
        "model/Dockerfile": "FROM scratch\n",
        "schema_guard/__init__.py": "",
        "demo_model/weights/sluice-demo.gguf": "GGUF",
        "web/index.html": "<!doctype html>",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.fixture(scope="session")
def syntheses(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Synthesis]:
    """Return the synthesis of every stage, by stage."""
    return {stage: synthesise(stage, project, tmp_path_factory.mktemp(stage)) for stage in STAGES}


@pytest.fixture(scope="session", params=STAGES)
def synthesis(request: pytest.FixtureRequest, syntheses: dict[str, Synthesis]) -> Synthesis:
    """Return the synthesis of each stage in turn."""
    return syntheses[request.param]


@pytest.fixture(scope="session")
def everything(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """Return a synthesis of production with every function and each of their variables."""
    return synthesise(
        "prod",
        project,
        tmp_path_factory.mktemp("everything"),
        websocket=True,
        webhook_url="https://example.org/ended",
        alarm_topic="arn:aws:sns:eu-west-1:123456789012:people",
        prompt_price=1.0,
        completion_price=2.0,
        monthly_ceiling=100.0,
        traces="https://collector.example.org/v1/traces",
        trace_secret="collector",
        trace_callers=True,
        key_figures="otlp",
    )


@pytest.fixture(scope="session")
def to_zero(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """Return a synthesis with a vLLM container on four GPUs that is scaled to zero."""
    return synthesise(
        "dev",
        project,
        tmp_path_factory.mktemp("to-zero"),
        container="vllm",
        instance_type="ml.g6.12xlarge",
        weights="s3://models/seventy/",
        quantization="fp8",
        scale_to_zero=True,
        startup_seconds=1800,
        environment={"SM_VLLM_ENABLE_AUTO_TOOL_CHOICE": "true"},
    )


@pytest.fixture(scope="session")
def scaled(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """Return a synthesis of production with TGI in a VPC, scaled by load and by schedule."""
    return synthesise(
        "prod",
        project,
        tmp_path_factory.mktemp("scaled"),
        container="tgi",
        instance_type="ml.g5.2xlarge",
        weights="hf:org/gated@v2",
        huggingface_secret="hugging-face",
        max_instances=6,
        schedule=("cron(0 7 ? * MON-FRI *) 2-8", "cron(0 20 ? * * *) 1"),
        schedule_timezone="Europe/Berlin",
        subnets=("subnet-1a", "subnet-2b"),
        security_groups=("sg-1",),
    )


@pytest.fixture(scope="session")
def existing(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """Return a synthesis with an existing endpoint, another model beside it, and a domain."""
    other = {"endpoint": "Other-One", "context_tokens": 100, "dialect": "tgi"}
    return synthesise(
        "dev",
        project,
        tmp_path_factory.mktemp("theirs"),
        endpoint_name="Their-Endpoint",
        dialect="openai",
        other_models={"other": json.dumps(other)},
        domain="api.example.org",
        certificate_arn=CERTIFICATE,
        hosted_zone="Z0123456789ABC:example.org",
    )


@pytest.fixture(scope="session")
def without_docker(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """Return a synthesis with an image built by CodeBuild, packed weights and a customer's key."""
    return synthesise(
        "dev",
        project,
        tmp_path_factory.mktemp("codebuild"),
        image_build="codebuild",
        weights="s3://models/one/model.tar.gz",
        kms_key=KEY,
    )


@pytest.fixture(scope="session")
def unkept(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """Return a synthesis that keeps no answers and has no detailed metrics of the endpoint."""
    return synthesise(
        "dev",
        project,
        tmp_path_factory.mktemp("unkept"),
        persistence="off",
        detailed_metrics=False,
    )


@pytest.fixture(scope="session")
def guarded(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """Return a synthesis with a guardrail, a customer's key for kept answers, and a web ACL."""
    return synthesise(
        "dev",
        project,
        tmp_path_factory.mktemp("guarded"),
        guardrail="a1b2:3",
        stream_kms_key=KEY,
        web_acl=WEB_ACL,
    )
