"""Checks a function's policy for access by its URL."""

from functools import lru_cache

from local.iam.policy import Need, Principal, Verdict, evaluate, parse

# AWS's message, and the two actions that it requires since October 2025: "Control access to Lambda
# function URLs" in Lambda's guide.
FORBIDDEN = (
    "Forbidden. For troubleshooting Function URL authorization issues, see: "
    "https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
)


@lru_cache(maxsize=1024)
def open_to_all(policy: str, function_arn: str) -> bool:
    """Return whether a function's policy (JSON) lets every caller use a URL of auth type NONE.

    The policy must allow both actions.
    """
    statements = parse(policy)
    needs = (
        Need(
            "lambda:InvokeFunctionUrl", function_arn, (("lambda:FunctionUrlAuthType", ("NONE",)),)
        ),
        Need("lambda:InvokeFunction", function_arn, (("lambda:InvokedViaFunctionUrl", ("true",)),)),
    )
    return all(evaluate(statements, need, {}, Principal()) is Verdict.ALLOWED for need in needs)
