"""The other adapters. They run in .venv-bench, which has the packages of the group `bench`."""
