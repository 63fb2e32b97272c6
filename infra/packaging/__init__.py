"""Build the packages of the Lambda functions."""
