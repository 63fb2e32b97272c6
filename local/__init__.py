"""The local cloud: what the stacks use of AWS, on one machine."""
