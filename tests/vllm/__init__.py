"""A real vLLM on CPUs, by `make test-vllm`: its server behind the deployed stack, and its core."""
