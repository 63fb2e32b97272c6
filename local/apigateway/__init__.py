"""The data plane of API Gateway's WebSocket APIs."""
