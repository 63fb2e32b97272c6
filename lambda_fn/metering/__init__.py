"""The write side of the meter: keys, budgets, reservations, the ledger and its settlements."""
