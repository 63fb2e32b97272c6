"""The local cloud: the AWS services that the stacks use, on one machine."""
