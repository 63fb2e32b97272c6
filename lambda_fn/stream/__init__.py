"""The public API function: it admits a request, invokes the model and streams the response."""
