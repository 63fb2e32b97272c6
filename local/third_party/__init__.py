"""Stand-ins for the third-party servers in AWS's containers.

The local cloud cannot run their images. A stand-in speaks its server's dialect and checks requests
as strictly, but has no model: the prompt contains the answer. Where tools are offered, it calls the
first one, and of images it says what it sees.
"""

# Servers by the repository of their image.
REPOSITORIES = {
    "vllm": "vllm",
    "sglang": "sglang",
    "djl-inference": "lmi",
    "huggingface-pytorch-tgi-inference": "tgi",
}


def server_of(image: str) -> str | None:
    """Return the server in one of AWS's images, None for any other image."""
    registry, _, rest = image.partition("/")
    return REPOSITORIES.get(rest.partition(":")[0]) if ".dkr.ecr." in registry else None
