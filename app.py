"""The CDK app that `cdk` runs."""

from infra.compose import main

main()
