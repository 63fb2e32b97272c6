"""The few AWS calls that the stream function makes, without an SDK.

Importing botocore's signer adds half as much again to the function's imports (measured, CPython
3.11: 0.6 s of CPU becomes 0.9 s without bytecode, 0.12 s becomes 0.18 s with it), and a cold start
lands on the first token. Each module here is held against botocore by a test.
"""
