"""Benchmarks. They produce figures and pass no judgement."""
