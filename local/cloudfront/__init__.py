"""CloudFront of the local cloud: one listener a distribution, doing what its configuration says."""
