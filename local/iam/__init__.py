"""IAM's decision on a request, before the control plane and the data planes see it.

`operations` reads a request. `actions` and `s3` name the actions that it needs, and the ARNs.
`policy` evaluates the policies of `roles`. `authorizer` joins them as the gateway's middleware.
`refusals` writes the error in each protocol's shape.
"""
