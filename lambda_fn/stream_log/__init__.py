"""The log of responses in StreamTable, one partition for each response.

Its item HEAD is the only truth about the state of a response. Its segments have the numbered events
that left the transforms. The last segment is terminal. Producers write with `table_log`, readers
read with `reading`, and `heads` has the few conditional writes by which a response begins and ends.
`keys` has the layout of the items.
"""
