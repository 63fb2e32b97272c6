"""Bedrock's `ApplyGuardrail`, with the API's errors and limits.

There is no model behind it. A guardrail blocks a text with the word `BLOCKED_WORD`, and would mask
one with `MASKED_WORD`. Every id is one of a guardrail, but for those that begin with `missing`; one
that begins with `throttled` is always throttled. Source: botocore's model of the service; the
number of text units in a call is a quota of the service, whose error's words are unconfirmed.
"""

import json
import math
import re
from typing import Any

from aiohttp import web

from local import bodies

BLOCKED_WORD = "sluice-blocked"
MASKED_WORD = "sluice-masked"
_UNIT = 1_000
"""Characters of a text unit."""
_MAX_UNITS = 25
_MAX_BODY = 1_000_000
_ID = re.compile(
    r"[a-z0-9]{1,64}|arn:aws[^:]*:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail/[a-z0-9]+"
)
_VERSION = re.compile(r"[1-9][0-9]{0,7}|DRAFT")
_MASK = "{SECRET}"


async def apply(request: web.Request) -> web.Response:
    """Answer a call."""
    identifier, version = request.match_info["id"], request.match_info["version"]
    name = identifier.rpartition("/")[2]
    if not _ID.fullmatch(identifier) or not _VERSION.fullmatch(version):
        return _error(400, "ValidationException", "The guardrail's identifier is not valid.")
    body = await bodies.read(request, _MAX_BODY)
    try:
        texts = _texts(json.loads(body or b""))
    except (ValueError, RecursionError) as error:
        return _error(400, "ValidationException", str(error))
    if name.startswith("missing"):
        return _error(404, "ResourceNotFoundException", "The guardrail does not exist.")
    units = max(1, math.ceil(sum(map(len, texts)) / _UNIT))
    if name.startswith("throttled"):
        return _error(429, "ThrottlingException", "Too many requests, please wait.")
    if units > _MAX_UNITS:
        return _error(
            400, "ValidationException", f"The content has {units} text units, over {_MAX_UNITS}."
        )
    return web.json_response(_verdict(texts, units))


def _texts(body: Any) -> list[str]:
    """Return the texts of a call. Raises ValueError if it is malformed."""
    if not isinstance(body, dict) or body.get("source") not in ("INPUT", "OUTPUT"):
        raise ValueError("source must be INPUT or OUTPUT.")
    content = body.get("content")
    if not isinstance(content, list) or not content:
        raise ValueError("content must be a list of blocks.")
    texts = []
    for block in content:
        text = block.get("text") if isinstance(block, dict) else None
        if not isinstance(text, dict) or not isinstance(text.get("text"), str):
            raise ValueError("content.text.text must be a text.")
        texts.append(text["text"])
    return texts


def _verdict(texts: list[str], units: int) -> dict[str, Any]:
    whole = "\n".join(texts)
    assessment: dict[str, Any] = {}
    outputs: list[dict[str, str]] = []
    if MASKED_WORD in whole:
        found = {"type": "PASSWORD", "match": MASKED_WORD, "action": "ANONYMIZED"}
        assessment["sensitiveInformationPolicy"] = {"piiEntities": [found], "regexes": []}
        outputs = [{"text": text.replace(MASKED_WORD, _MASK)} for text in texts]
    if BLOCKED_WORD in whole:
        found = {"type": "VIOLENCE", "confidence": "HIGH", "action": "BLOCKED"}
        assessment["contentPolicy"] = {"filters": [found]}
        outputs = [{"text": "Sorry, this cannot be shown."}]
    return {
        "action": "GUARDRAIL_INTERVENED" if assessment else "NONE",
        "actionReason": "Guardrail blocked." if assessment else "No action.",
        "outputs": outputs,
        "assessments": [assessment],
        "usage": {
            "topicPolicyUnits": 0,
            "contentPolicyUnits": units,
            "wordPolicyUnits": 0,
            "sensitiveInformationPolicyUnits": units,
            "sensitiveInformationPolicyFreeUnits": 0,
            "contextualGroundingPolicyUnits": 0,
        },
    }


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response(
        {"message": message}, status=status, headers={"x-amzn-ErrorType": kind}
    )
