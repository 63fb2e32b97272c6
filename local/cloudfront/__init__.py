"""CloudFront of the local cloud: a listener for each distribution, with its configuration."""
