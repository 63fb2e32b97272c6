"""Chaos: prove that the records are exact after failures of every part.

The stream function is killed at every stage of a request, the table is taken away, the sweeper is
killed, and the rollups are deleted. Afterwards the records must be exact: accounts = ledger =
rollups = the container's own log.

stages       where a function can be killed, as faults of the local cloud
deployment   the deployment under chaos, with its accounts, ledger and logs
load         streams of stock clients
proof        the comparison of all records
"""
