"""Deployments that together have every option: each choice of each setting at least once."""

import json
from dataclasses import MISSING, Field
from typing import Any, get_args

from infra.settings.deployment import FIELDS, TYPES, Settings, of_stage
from tests.support.synthesis import CERTIFICATE, KEY, WEB_ACL

_GPU = {"weights": "s3://models/one/", "instance_type": "ml.g6.12xlarge"}
_OTHER = json.dumps(
    {"endpoint": "Other-One", "context_tokens": 100, "dialect": "tgi", "component": "Part"}
)
_IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/own/model:v1"
_ZONE = "Z0123456789ABC:example.org"
MATRIX: dict[str, tuple[str, dict[str, Any]]] = {
    "local": ("local", {}),
    "dev": ("dev", {}),
    "prod": (
        "prod",
        {
            "name": "a" * 24,
            "alarm_topic": "arn:aws:sns:eu-west-1:123456789012:people",
            "default_max_streams": 5,
            "default_max_tokens": 2048,
            "prompt_price": 0.5,
            "completion_price": 1.5,
            "cached_price": 0.1,
            "image_price": 0.7,
            "reasoning_price": 2.0,
            "price_changes": {"2027-01-01": "prompt 0.4, completion 1.2"},
            "monthly_ceiling": 500,
            "audit_days": 30,
            "persistence": "all",
            "log_hours": 48,
            "response_days": 60,
            "on_log_failure": "refuse",
            "recall_concurrency": 50,
            "recall_per_key": 20,
            "websocket": True,
            "websocket_concurrency": 50,
            "background": "invoke",
            "background_per_key": 20,
            "background_at_once": 50,
            "background_wait_hours": 48,
            "webhook_url": "https://hooks.example.org/sluice?a=b",
            "stream_kms_key": KEY,
            "heartbeat_seconds": 5,
            "traces": "cloudwatch",
            "trace_ratio": 0.1,
            "trace_callers": True,
            "canary_seconds": 600,
            "model_name": "my-model",
            "context_tokens": 8192,
            "parallel": 4,
            "memory_mb": 1024,
            "overdue_seconds": 900,
            "recovered_alarm": 100,
            "alarm_traffic": 50,
            "completion_alarm": 90.0,
            "completion_slo": 99.9,
            "ttft_alarm_seconds": 2.0,
            "hourly_cost_alarm": 5.0,
            "key_figures": "insights",
        },
    ),
    "edge": (
        "prod",
        {
            "domain": "api.example.org",
            "hosted_zone": _ZONE,
            "web_acl": "rate",
            "web_acl_rate": 100,
            "web_acl_admin_rate": 50,
            "price_class": "200",
            "cors_origins": ("https://app.example.org", "http://localhost:3000"),
            "aliases": {"gpt-4o": "sluice-demo"},
            "log_retention_days": 14,
            "canary_minutes": 10,
            "guardrail": "a1b2c3d4e5f6:1",
            "guardrail_mode": "async",
            "guardrail_open": True,
            "moderate_mode": "score",
            "moderate_patterns": {"weapons": r"(?i)\bpipe ?bombs?\b"},
            "moderate_words": {"weapons_words": "nerve agent"},
            "redact": ("email", "card"),
            "redact_patterns": {"order": r"\bORD-[0-9]{8}\b"},
            "redact_words": {"project": "Falcon, Blue Heron"},
            "redact_as": "pseudonym",
            "traces": "https://otel.example.org/v1/traces",
            "trace_secret": "otel/authorization",
        },
    ),
    "own-edge": (
        "dev",
        {
            "domain": "api.example.org",
            "certificate_arn": CERTIFICATE,
            "web_acl": WEB_ACL,
            "log_retention_days": 1,
            "key_figures": "otlp",
            "python_version": "3.13",
            "canary_minutes": 30,
            "usage_table": "sluice-restored",
            "tags": {"cost-center": "42"},
        },
    ),
    "codebuild": (
        "dev",
        {
            "image_build": "codebuild",
            "weights": "s3://models/one/model.tar.gz",
            "kms_key": KEY,
            "subnets": ("subnet-0123456789abcdef0", "subnet-0123456789abcdef1"),
            "security_groups": ("sg-0123456789abcdef0",),
            "network_isolation": True,
            "log_retention_days": 30,
            "environment": {"SLUICE_QUEUE": "4"},
        },
    ),
    "to-zero": (
        "dev",
        {
            **_GPU,
            "container": "vllm",
            "dialect": "vllm",
            "quantization": "fp8",
            "embeddings": True,
            "max_images": 2,
            "image_tokens": 1024,
            "image_hosts": ("*.example.com",),
            "scale_to_zero": True,
            "startup_seconds": 1800,
            "download_seconds": 3600,
        },
    ),
    "sglang": (
        "prod",
        {
            **_GPU,
            "container": "sglang",
            "dialect": "sglang",
            "max_instances": 6,
            "requests_per_instance": 3,
            "scale_in_seconds": 900,
            "schedule": ("cron(0 7 ? * MON-FRI *) 2-8", "cron(0 20 ? * * *) 1"),
            "schedule_timezone": "Europe/Berlin",
            "on_log_failure": "unlogged",
            "on_cut": "continue",
            "store_default": False,
            "canary_minutes": 15,
            "log_retention_days": 365,
        },
    ),
    "lmi": ("dev", {**_GPU, "container": "lmi", "dialect": "lmi-inputs"}),
    "tgi": (
        "dev",
        {
            **_GPU,
            "container": "tgi",
            "weights": "hf:org/gated@v2",
            "huggingface_secret": "hugging-face",
            "network_isolation": False,
            "dialect": "tgi",
            "reasoning": "none",
        },
    ),
    "vllm": (
        "dev",
        {
            **_GPU,
            "engine": "vllm",
            "tensor_parallel": 2,
            "reasoning": "hidden",
            "reasoning_tags": "<think> </think>",
            "ami_version": "al2-ami-sagemaker-inference-gpu-3-1",
            "dialect": "sluice",
        },
    ),
    "scripted": (
        "dev",
        {
            "engine": "scripted",
            "image_uri": _IMAGE,
            "architecture": "x86_64",
            "admin_url": False,
            "playground": False,
            "meter_open": True,
            "persistence": "off",
            "one_connection": True,
            "event_loop": "uvloop",
            "strict": True,
            "loose_tool_history": True,
            "detailed_metrics": False,
            "metrics": False,
            "dashboard": False,
            "dialect": "lmi",
        },
    ),
    "theirs": (
        "dev",
        {
            "endpoint_name": "Their-Endpoint",
            "dialect": "openai",
            "other_models": {"other": _OTHER},
            "fallbacks": {"sluice-demo": "other"},
        },
    ),
    "one-file": ("dev", {"weights": "s3://models/a.gguf", "weights_sha256": "0" * 64}),
}
"""The stage and the changed settings of each deployment."""
ONE_WILL_DO = {"ami_version"}
"""Settings whose choices are the API's own enumeration, which another test holds."""


def settings_of(name: str) -> Settings:
    """Return the settings of a deployment of the matrix."""
    stage, changes = MATRIX[name]
    return of_stage(stage).replace(**changes)


def missing() -> list[str]:
    """Return each choice of a setting, and each setting without choices, that no deployment has."""
    every = [settings_of(name) for name in MATRIX]
    found = []
    for field in FIELDS.values():
        values = {json.dumps(getattr(it, field.name), default=dict) for it in every}
        choices = [] if field.name in ONE_WILL_DO else _choices(field)
        found += [f"{field.name}={it}" for it in choices if json.dumps(it) not in values]
        if not _choices(field) and _never_changed(field, values):
            found.append(field.name)
    return found


def _choices(field: "Field[Any]") -> list[object]:
    """Return the values that a setting with choices has."""
    kind = TYPES[field.name]
    if kind is bool:
        return [False, True]
    return [it for option in (kind, *get_args(kind)) for it in _literals(option)]


def _literals(kind: Any) -> list[object]:
    return [it for it in get_args(kind) if isinstance(it, str | int)]


def _never_changed(field: "Field[Any]", values: set[str]) -> bool:
    default = field.default if field.default is not MISSING else None
    return len(values) < 2 and (default is None or json.dumps(default, default=dict) in values)
