"""Extensions of moto, which is the control plane of the local cloud and runs in a separate process.

Because of that, moto's work never delays a stream. The data planes fetch the deployed state by a
long poll, and report what they observe (an endpoint's status, a distribution's port): see
`exchange`.
"""
