"""Stand-ins for the third-party servers in AWS's containers, whose images the local cloud cannot
run.

They speak each server's dialect and check requests as strictly, but have no model: they answer what
the prompt tells them.
"""

# The repository of an image -> the server in it.
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
