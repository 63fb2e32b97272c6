"""The settings of a deployment, and how each one reaches the code that uses it.

1. A field of `Settings` (deployment.py, or its parts container.py and endpoint.py) has the type and
   the bounds. DEV, PROD and `local()` have the stages' values. `-c NAME=VALUE` and cdk.json change
   a value, by context.py.
2. A construct of infra/constructs passes the value on: as a property of a resource, or as a
   variable of a function (`SLUICE_NAME`, in stream_function.py, sweeper.py, admin_functions.py) or
   of the container (container_environment.py).
3. The program reads its variables once, when it starts: lambda_fn/settings.py,
   lambda_fn/control/settings.py, model/settings.py.
4. docs/reference/settings.md has a row for it.

Tests compare the steps. tests/infra/constructs/test_function.py and
tests/contract/test_container_environment.py cover the second and third,
tests/infra/settings/test_deployment.py the first and fourth.
"""
