"""The write side of the meter: keys, budgets, holds, the ledger and its settlements."""
