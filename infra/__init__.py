"""The stacks that `cdk deploy` provisions."""
