"""CloudFront of the local cloud: one listener for each distribution, as its configuration describes
it.
"""
