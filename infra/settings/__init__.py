"""The settings of a deployment, as read from the CDK context."""
