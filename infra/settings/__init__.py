"""The settings of a deployment, and how each one reaches the code that uses it.

1. A field of `Settings` (deployment.py, and a mixin for each subject: container.py, edge.py,
   endpoint.py, filters.py, function.py, kept.py, monitoring.py, prices.py) has the type and the
   bounds. DEV, PROD and `local()` have the stages' values. `-c NAME=VALUE` and cdk.json change
   a value, by context.py.
2. A construct of infra/constructs passes the value on: as a property of a resource, or as a
   variable of a function (`SLUICE_NAME`, in stream_function.py, sweeper.py, admin_functions.py) or
   of the container (container_environment.py).
3. The program reads its variables once, when it starts: lambda_fn/settings/stream.py, settings.py
   of lambda_fn/control, lambda_fn/sweep and lambda_fn/background, model/settings.py.
4. docs/reference/settings.md has a row for it.

Tests compare the steps. tests/infra/constructs/test_function.py and
tests/contract/test_container_environment.py cover the second and third,
tests/infra/settings/test_deployment.py the first and fourth.
"""
