"""The stream function: an OpenAI-compatible API in front of a SageMaker endpoint."""
