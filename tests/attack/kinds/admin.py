"""Attacks on the admin API.

They come without its secret, as a flood, or with values that a spreadsheet or terminal would run.
"""

import asyncio
import json

import boto3
import httpx

from tests.attack.target import Findings, Target

KIND = "the admin API"
_FLOOD = 80
_FORMULA = '=HYPERLINK("http://127.0.0.1:1/"&A1)\x1b[2J'


async def attack(target: Target, findings: Findings) -> None:
    """Guess the secret, flood the URL, then send invalid values with the right secret."""
    calls = {
        "GET": ("/keys", "/usage", "/nothing", "/keys/../keys"),
        "POST": ("/keys", "/reconcile/keys"),
        "DELETE": ("/keys/x",),
    }
    async with target.client(None) as client:
        for method, paths in calls.items():
            for path in paths:
                for name, secret in {
                    "no secret": "",
                    "an API key": target.key,
                    "a wrong secret": "x" * 40,
                }.items():
                    headers = {"authorization": f"Bearer {secret}"} if secret else {}
                    answer = await client.request(method, f"/admin/v1{path}", headers=headers)
                    findings.check(
                        f"{method} {path} with {name}",
                        answer.status_code in {401, 403, 429},
                        answer.status_code,
                    )
        await _flood(target, findings, client)
        await _bad_values(target, findings, client)


async def _flood(target: Target, findings: Findings, client: httpx.AsyncClient) -> None:
    """Flood the URL. A caller through IAM must still get an answer."""
    stop = asyncio.Event()

    async def flood() -> None:
        while not stop.is_set():
            await client.get("/admin/v1/keys", headers={"authorization": "Bearer " + "x" * 40})

    floods = [asyncio.ensure_future(flood()) for _ in range(_FLOOD // 4)]
    try:
        await asyncio.sleep(0.5)
        aws = target.cloud.aws_environment()
        functions = boto3.client(
            "lambda",
            endpoint_url=target.cloud.endpoint_url,
            region_name=aws["AWS_REGION"],
            aws_access_key_id=aws["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=aws["AWS_SECRET_ACCESS_KEY"],
        )
        event = json.dumps({"method": "GET", "path": "/admin/v1/keys", "query": "", "body": None})
        name = target.outputs["AdminFunctionName"]
        answer = await asyncio.to_thread(functions.invoke, FunctionName=name, Payload=event)
        found = json.loads(answer["Payload"].read())
        findings.check("IAM's way in during a flood", found.get("statusCode") == 200, found)
    except Exception as error:  # noqa: BLE001 - after any error this way in is shut
        findings.check("IAM's way in during a flood", False, repr(error))
    finally:
        stop.set()
        await asyncio.gather(*floods, return_exceptions=True)


async def _bad_values(target: Target, findings: Findings, client: httpx.AsyncClient) -> None:
    """Send invalid values with the secret. They are rejected; a formula is a valid name."""
    headers = {"authorization": f"Bearer {target.admin_secret}"}
    for name, body in {
        "a limit below zero": {"name": "x", "limits": {"requests_per_minute": -1}},
        "a limit of 400 digits": {"name": "x", "limits": {"tokens_per_day": int("9" * 400)}},
        "an unknown field": {"name": "x", "enabled_": True},
        "a name of 100 kB": {"name": "x" * 100_000},
        "no object": [],
    }.items():
        answer = await client.post("/admin/v1/keys", json=body, headers=headers)
        findings.refusal(name, answer, 400, 413)
    answer = await client.post("/admin/v1/keys", json={"name": _FORMULA}, headers=headers)
    findings.check("a formula as a name", answer.status_code in {200, 201, 400}, answer.text)
    for query in (
        "since=0000-00-00",
        "since=9999-12-31",
        "limit=1000000",
        "after=AAAA",
        "by=key,key,key",
        "key=%00",
    ):
        answer = await client.get(f"/admin/v1/usage?{query}", headers=headers)
        findings.check(
            f"usage?{query}",
            answer.status_code in {200, 400},
            f"{answer.status_code} {answer.text}",
        )
