"""The authoriser: what IAM would say to a request, before the control plane and the data planes see it.

`operations` reads a request, `actions` and `s3` say which of IAM's actions it needs on which ARNs, `policy` judges it
by the policies of `roles`, `gate` joins them at the gateway, `refusals` are the answers in each protocol's shape.
"""
