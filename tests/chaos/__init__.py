"""Chaos: the stream function is killed at every stage of a request, the table goes away, the sweeper is killed, the
rollups are deleted. Afterwards the books have to be exact: accounts = ledger = rollups = the container's own log.

    stages   where a function can be killed, as faults of the local cloud
    deployment   a deployment to do it in, and what can be asked of it
    load     streams of stock clients
    proof    the books held against each other
"""
