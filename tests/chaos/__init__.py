"""Chaos: prove that the records are exact after failures of every part.

The stream function is killed at every stage of a request and at every write of a logged stream, the
table is taken away, the sweeper is killed, and the rollups are deleted. Afterwards the records must
be exact: accounts = ledger = rollups = the container's own log, and the logs of streams agree with
the ledger. Each reader of a logged stream has what is stored.

stages       where a function can be killed, as faults of the local cloud
deployment   the deployment under chaos, with its accounts, ledger and logs
load         streams of stock clients
logged       logged streams, and the comparison of their logs with the ledger
readers      the clients of a logged stream, and the comparison of what they got
proof        the comparison of all records
"""
