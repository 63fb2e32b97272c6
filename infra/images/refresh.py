"""Write images.json: by region, the newest Deep Learning Container of each kind.

The SageMaker SDK lists them. `make images` runs this in a separate environment
(locks/sagemaker.txt), because the SDK installs a gigabyte. It needs no credentials. Review the
change before you commit it.
"""

import contextlib
import datetime
import json
import re
from importlib.metadata import version
from pathlib import Path

from sagemaker.core import image_uris

FRAMEWORKS = {"vllm": "vllm", "sglang": "sglang", "lmi": "djl-lmi", "tgi": "huggingface-llm"}
"""Our names -> the SDK's."""
REGIONS = (
    "af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 "
    "ap-south-2 ap-southeast-1 "
    "ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-7 ca-central-1 "
    "ca-west-1 cn-north-1 "
    "cn-northwest-1 eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 eu-west-1 "
    "eu-west-2 eu-west-3 "
    "il-central-1 me-central-1 me-south-1 mx-central-1 sa-east-1 us-east-1 us-east-2 "
    "us-gov-east-1 us-gov-west-1 "
    "us-west-1 us-west-2"
)
# The SDK returns the GPU image for any GPU instance.
_INSTANCE = "ml.g6.xlarge"
FILE = Path(__file__).with_name("images.json")


def newest(framework: str) -> str:
    """Return the highest full version that the SDK lists."""
    listed: list[str] = [
        text for text in image_uris.list_versions(framework) if re.fullmatch(r"\d+(\.\d+){2}", text)
    ]
    return max(listed, key=lambda text: [int(part) for part in text.split(".")])


def main() -> None:
    """Write images.json."""
    containers = {}
    for name, framework in FRAMEWORKS.items():
        uris = {}
        for region in REGIONS.split():
            with contextlib.suppress(ValueError):  # the image is not in this region
                uris[region] = image_uris.retrieve(
                    framework,
                    region,
                    version=newest(framework),
                    instance_type=_INSTANCE,
                    image_scope="inference",
                )
        cuda = re.search(r"-cu(\d+?)(\d)(-|$)", uris["us-east-1"])
        if cuda is None:
            raise SystemExit(f"{uris['us-east-1']}: its tag does not say its CUDA version")
        containers[name] = {"framework": framework, "cuda": f"{cuda[1]}.{cuda[2]}", "uris": uris}
    content = {
        "written": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "sagemaker": version("sagemaker"),
        "containers": containers,
    }
    FILE.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
