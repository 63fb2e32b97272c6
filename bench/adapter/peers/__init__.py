"""The adapters beside ours. They run in .venv-bench, which has what the group `bench` names."""
