"""Service Quotas: the values of a new account, for the quotas that a deployment needs.

moto has only those of VPC. Sources: the quota pages of SageMaker and Lambda. Users report that a
new account has no GPU instance for endpoints and may run ten functions at once. Here the quota of
concurrency is the limit that the local cloud enforces. A requested increase is granted at once;
AWS takes hours to days.
"""

import json
import re
from typing import Any

from moto.servicequotas.models import ServiceQuotasBackend
from moto.servicequotas.responses import ServiceQuotasResponse

from local.limits import value
from local.moto.exchange import EXCHANGE

_CPU = (
    "ml.t2.medium",
    "ml.m5.large",
    "ml.m5.xlarge",
    "ml.c5.large",
    "ml.c5.xlarge",
    "ml.c7i.large",
    "ml.c7i.xlarge",
)
_raised: dict[str, float] = {}
_GPU = ("g4dn", "g5", "g6", "g6e", "p4d", "p5")
_SIZES = ("xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge", "48xlarge")


def install() -> None:
    """Apply the patch. Call it once, in the control plane's process."""
    original = ServiceQuotasBackend.get_service_quota

    def get(backend: Any, service_code: str, quota_code: str) -> dict[str, Any]:
        for quota in _quotas(service_code):
            if quota["QuotaCode"] == quota_code:
                return quota
        other: dict[str, Any] = original(backend, service_code, quota_code)
        return other

    def listed(response: Any) -> str:
        return json.dumps({"Quotas": _quotas(json.loads(response.body)["ServiceCode"])})

    def requested(response: Any) -> str:
        asked = json.loads(response.body)
        quota = get(response.backend, asked["ServiceCode"], asked["QuotaCode"])
        _raised[asked["QuotaCode"]] = float(asked["DesiredValue"])
        EXCHANGE.changed()
        EXCHANGE.settle()
        return json.dumps(
            {
                "RequestedQuota": {
                    "Id": quota["QuotaCode"],
                    "ServiceCode": quota["ServiceCode"],
                    "QuotaCode": quota["QuotaCode"],
                    "QuotaName": quota["QuotaName"],
                    "DesiredValue": _raised[quota["QuotaCode"]],
                    "Status": "APPROVED",
                }
            }
        )

    ServiceQuotasBackend.get_service_quota = get
    ServiceQuotasResponse.list_service_quotas = listed
    # The response class is looked up by the action's name. moto has no such action.
    ServiceQuotasResponse.request_service_quota_increase = requested


def concurrency() -> int:
    """Return the functions that the account may run at once."""
    return int(_quotas("lambda")[0]["Value"])


def endpoint_instances(kind: str) -> int | None:
    """Return the account's instances of a type for endpoints; None for a type without a quota."""
    for quota in _quotas("sagemaker"):
        if quota["QuotaName"] == f"{kind} for endpoint usage":
            return int(quota["Value"])
    return None


def _quotas(service: str) -> list[dict[str, Any]]:
    if service == "lambda":
        return [
            _quota(
                "lambda", "L-B99A9384", "Concurrent executions", value("lambda_account_concurrency")
            )
        ]
    if service == "sagemaker":
        instances = dict.fromkeys(_CPU, value("sagemaker_endpoint_instances")) | {
            f"ml.{family}.{size}": 0 for family in _GPU for size in _SIZES
        }
        return [
            _quota("sagemaker", f"L-{_code(name)}", f"{name} for endpoint usage", maximum)
            for name, maximum in instances.items()
        ]
    return []


def _quota(service: str, code: str, name: str, maximum: float) -> dict[str, Any]:
    return {
        "ServiceCode": service,
        "QuotaCode": code,
        "QuotaName": name,
        "Value": _raised.get(code, float(maximum)),
        "Adjustable": True,
        "GlobalQuota": False,
    }


def _code(name: str) -> str:
    """Return a code for an instance type; AWS's own are random."""
    return re.sub(r"[^A-Z0-9]", "", name.upper())
