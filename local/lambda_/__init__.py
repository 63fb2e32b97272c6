"""Lambda functions of the local cloud: real processes on a real Runtime API, behind function URLs."""
