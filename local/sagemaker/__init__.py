"""SageMaker endpoints of the local cloud: containers, and the runtime API in front of them."""
