"""The public API function: admits a request, invokes the model and streams its answer."""
