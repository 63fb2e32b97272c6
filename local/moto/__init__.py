"""The control plane of the local cloud: moto with our CloudFormation, in a process of its own.

Its Python time therefore never stalls a stream. What is deployed goes to the data planes by a long poll of its state,
and what they observe (an endpoint's status, a distribution's port) comes back as a report: see `exchange`.
"""
