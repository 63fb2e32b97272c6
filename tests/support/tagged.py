"""Resources that could have a deployment's tags and lack them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from local.cloudformation import schemas

HELPERS = "CustomCrossRegionExport"
"""CDK makes these without tags of their own. They get their stack's tags."""


def untagged(template: dict[str, Any], tags: Mapping[str, str]) -> Iterator[str]:
    """Yield each resource of a template that takes tags and lacks one of `tags`.

    CloudFormation's schema of a type names the property that has its tags.
    """
    for name, resource in template["Resources"].items():
        kind = resource["Type"]
        schema = schemas.of(kind)
        if schema is None or not _takes_tags(schema) or name.startswith(HELPERS):
            continue
        text = json.dumps(resource.get("Properties", {}))
        for key, value in tags.items():
            pair = json.dumps({"Key": key, "Value": value})
            as_map = f"{json.dumps(key)}: {json.dumps(value)}"
            if pair not in text and as_map not in text:
                yield f"{kind} {name} lacks the tag {key}"


def _takes_tags(schema: dict[str, Any]) -> bool:
    tagging = schema.get("tagging")
    taggable = tagging.get("taggable", True) if tagging else schema.get("taggable", True)
    return bool(taggable) and any(
        "Tags" in properties
        for properties in (
            schema.get("properties", {}),
            *(it.get("properties", {}) for it in schema.get("definitions", {}).values()),
        )
    )
