"""Texts that would control a terminal, forge a log line or run in a page, if they were echoed."""

from typing import Any

from tests.attack.target import Findings, Target

KIND = "texts"
_FORGED = '{"event": "settlement_unsaved", "request_id": "forged"}'


async def attack(target: Target, findings: Findings) -> None:
    """Send control characters and forged log lines wherever a caller may write.

    The logs are searched for them at the end.
    """
    planted = f"{target.marker}\n{_FORGED}\r\n\x1b[31m{target.marker}\x00\u202e"
    async with target.client() as client:
        changes: dict[str, dict[str, Any]] = {
            "a model's name": {"model": planted},
            "a user": {"user": planted},
            "metadata": {"metadata": {"k": planted}},
            "an unknown field": {planted: planted},
            "a tool's name": {"tools": [{"type": "function", "function": {"name": planted}}]},
            "a tool's description": {
                "tools": [{"type": "function", "function": {"name": "f", "description": planted}}]
            },
            "an enum": {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "schema": {"enum": [planted, "b"]}},
                }
            },
            "a pattern": {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "schema": {"type": "string", "pattern": planted}},
                }
            },
            "a stop string": {"stop": planted.replace("\x00", "")},
            "a schema's name": {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": planted, "schema": {}},
                }
            },
        }
        for name, change in changes.items():
            answer = await client.post("/v1/chat/completions", json=target.chat(**change))
            findings.check(
                name, answer.status_code in {200, 400, 404}, f"{answer.status_code} {answer.text}"
            )
            sniff = answer.headers.get("x-content-type-options")
            findings.check(f"{name}: no sniffing", sniff == "nosniff", answer.headers)
        headers = {"accept": "text/plain"}
        answer = await client.post(
            "/v1/chat/completions", json=target.chat(stream=True), headers=headers
        )
        control = [
            character
            for character in answer.text
            if ord(character) < 32 and character not in "\n\t"
        ]
        findings.check(
            "bare text has no control characters",
            answer.status_code == 200 and not control,
            control,
        )
        odd_header = {
            "x-request-id": target.marker,
            "user-agent": target.marker,
            "idempotency-key": target.marker,
        }
        answer = await client.get(
            f"/v1/models/{target.marker}?q={target.marker}", headers=odd_header
        )
        findings.refusal("an unknown model", answer, 404)
