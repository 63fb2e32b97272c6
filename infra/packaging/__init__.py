"""The packages of the Lambda functions."""
