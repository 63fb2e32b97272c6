"""Stand-ins of the servers in AWS's containers, for the local cloud, which cannot run those images.

They speak each server's dialect and are as strict about requests, but have no model: they say what they were told.
"""

# The image's repository -> the server in it.
REPOSITORIES = {
    "vllm": "vllm",
    "sglang": "sglang",
    "djl-inference": "lmi",
    "huggingface-pytorch-tgi-inference": "tgi",
}


def server_of(image: str) -> str | None:
    """The server in one of AWS's images, None for any other image."""
    registry, _, rest = image.partition("/")
    return REPOSITORIES.get(rest.partition(":")[0]) if ".dkr.ecr." in registry else None
