"""The stream function compared with other adapters, on one stand-in endpoint, in one run.

`python -m bench.adapter` (through `make bench` and `make bench-quick`) writes
bench/results/adapter.json. `python -m bench.adapter.report` renders that file into
docs/explanation/performance.md.
"""
