"""The code of functions that take part in a deployment. Each file is one function.

The stacks contain the text of a file (Lambda's `index.py`), so a file has at most 4,096 characters
and imports only what Lambda's Python has.
"""
