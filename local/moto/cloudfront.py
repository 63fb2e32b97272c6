"""CloudFront's GetDistributionConfig, for distributions in the exchange.

The response has only origins with their timeouts, and the origin of the default behaviour.
"""

import re
from typing import Any
from xml.etree import ElementTree as ET

from local.moto.exchange import EXCHANGE

_PATH = re.compile(r"/2020-05-31/distribution/([^/]+)/config")
_NAMESPACE = "http://cloudfront.amazonaws.com/doc/2020-05-31/"
_ORIGIN = (
    "HTTPPort",
    "HTTPSPort",
    "OriginProtocolPolicy",
    "OriginReadTimeout",
    "OriginKeepaliveTimeout",
)
# CloudFormation's defaults.
_DEFAULTS = {"HTTPPort": 80, "HTTPSPort": 443, "OriginReadTimeout": 30, "OriginKeepaliveTimeout": 5}


def config(path: str) -> bytes | None:
    """Return the response body, or None if the path does not name a known distribution."""
    match = _PATH.fullmatch(path)
    distribution = EXCHANGE.distributions.get(match[1]) if match else None
    return _xml(match[1], distribution) if match and distribution is not None else None


def _xml(distribution_id: str, distribution: dict[str, Any]) -> bytes:
    root = ET.Element("DistributionConfig", xmlns=_NAMESPACE)
    ET.SubElement(root, "CallerReference").text = distribution_id
    ET.SubElement(root, "Enabled").text = str(distribution.get("Enabled", True)).lower()
    origins = ET.SubElement(root, "Origins")
    ET.SubElement(origins, "Quantity").text = str(len(distribution.get("Origins", [])))
    items = ET.SubElement(origins, "Items")
    for origin in distribution.get("Origins", []):
        item = ET.SubElement(items, "Origin")
        ET.SubElement(item, "Id").text = origin["Id"]
        ET.SubElement(item, "DomainName").text = origin["DomainName"]
        if "CustomOriginConfig" in origin:
            custom = ET.SubElement(item, "CustomOriginConfig")
            for name, value in ({**_DEFAULTS, **origin["CustomOriginConfig"]}).items():
                if name in _ORIGIN:
                    ET.SubElement(custom, name).text = str(value)
    behaviour = ET.SubElement(root, "DefaultCacheBehavior")
    ET.SubElement(behaviour, "TargetOriginId").text = distribution["DefaultCacheBehavior"][
        "TargetOriginId"
    ]
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return body
