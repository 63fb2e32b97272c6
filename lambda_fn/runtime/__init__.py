"""An ASGI server on the Lambda Runtime API, with streamed answers.

The managed Python runtime only posts whole results, so this one takes its place (see `bootstrap`). The seams: `event`
turns an invocation into an ASGI scope, `cycle` is the ASGI side of one answer, `api` speaks to Lambda, `loop` joins
them.
"""
