"""Make a key with a budget of tokens by the admin API, use it until the budget is spent, and delete
it.

The admin API is called by IAM (`lambda:InvokeFunction`), so no admin secret is needed. boto3 needs
credentials and a region; for the local stack, `eval "$(sluice env --aws)"` sets them.
"""

import argparse
import json
import os
from typing import Any

import boto3
import openai

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument(
    "--stack", default="sluice-local-service", help="the service stack (%(default)s)"
)
stack = parser.parse_args().stack
if boto3.Session().region_name is None:
    parser.error('boto3 has no region; for the local stack, run eval "$(sluice env --aws)" first')

described = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]
function = next(
    output["OutputValue"] for output in described if output["OutputKey"] == "AdminFunctionName"
)
lambda_client = boto3.client("lambda")


def admin(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Call the admin API and return its response; raise on an error."""
    payload = json.dumps({"method": method, "path": f"/admin/v1{path}", "body": body})
    answer = json.load(lambda_client.invoke(FunctionName=function, Payload=payload)["Payload"])
    if answer["statusCode"] >= 400:
        raise RuntimeError(answer["body"])
    return json.loads(answer["body"]) if answer.get("body") else None


key = admin("POST", "/keys", {"name": "example", "limits": {"tokens_per_day": 900}})
print(f"made key {key['id']} with 900 tokens a day")
# The client retries while a running request holds the tokens that are missing.
client = openai.OpenAI(api_key=key["secret"])
try:
    for number in range(1, 20):
        answer = client.chat.completions.create(
            model=os.environ.get("SLUICE_MODEL", "sluice-demo"),
            messages=[{"role": "user", "content": "Hello"}],
            max_tokens=40,
        )
        print(f"request {number}: {answer.usage.total_tokens if answer.usage else 0} tokens")
except openai.RateLimitError as error:
    budget = admin("GET", f"/keys/{key['id']}/budget")["tokens_per_day"]
    print(
        f"spent: {budget['spent']} of {budget['limit']}; the next request could need more "
        "than is left"
    )
    print(f"rejected: {error.code}")
finally:
    admin("DELETE", f"/keys/{key['id']}")
