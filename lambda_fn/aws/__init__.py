"""The few AWS calls that the stream function makes, without an SDK.

Importing botocore's signer makes the function's imports half as long again (measured, CPython 3.11:
0.6 s of CPU becomes 0.9 s without bytecode, 0.12 s becomes 0.18 s with it), and a cold start delays
the first token. Tests compare signatures, frames and attributes with botocore's and boto3's.
"""
