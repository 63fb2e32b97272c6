"""Changes of a deployed function, brought into service as a deployment does it."""

from typing import Any


def change_function(api: Any, name: str, **changes: Any) -> None:
    """Change a function's configuration, and move its aliases to a version with the change.

    `api` is boto3's client of Lambda; `changes` are members of UpdateFunctionConfiguration.
    """
    api.update_function_configuration(FunctionName=name, **changes)
    for alias in api.list_aliases(FunctionName=name)["Aliases"]:
        version = api.publish_version(FunctionName=name)["Version"]
        api.update_alias(FunctionName=name, Name=alias["Name"], FunctionVersion=version)
