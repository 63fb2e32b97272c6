"""The few AWS calls that the stream function makes, without an SDK.

Importing botocore's signer alone takes as long as all else that the function imports (docs: ARCHITECTURE.md,
"Choices"), and a cold start lands on the first token. Each module here is held against botocore by a test.
"""
