"""An ASGI server on the Lambda Runtime API, with streamed responses.

It replaces the managed Python runtime, which cannot stream (see `bootstrap`). `event` turns an
invocation into an ASGI scope, `cycle` is the ASGI side of one invocation, `api` is the client of
the Runtime API, and `loop` connects them.
"""
