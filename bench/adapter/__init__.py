"""The stream function beside the adapters that others use, on one stand-in endpoint, in one run.

`python -m bench.adapter` (through `make bench` and `make bench-quick`) writes bench/results/adapter.json;
`python -m bench.adapter.report` renders it into docs/explanation/performance.md.
"""
