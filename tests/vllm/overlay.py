"""Lay the pinned vLLM's Python files over the compiled ones of vLLM for CPUs.

    python -m tests.vllm.overlay FOLDER

vLLM for CPUs is released later than vLLM. So the engine, which is made for the pinned version, is
run with that version's Python and the compiled code of FOLDER/env. The result is FOLDER/overlay.
"""

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.support.vllm_stand_in import signatures

_TAKEN = (".py", ".json", ".jinja")


def main(folder: Path) -> None:
    """Download the pinned wheel, which has 340 MB, and make the overlay."""
    version = signatures.pinned_version()
    out = folder / "overlay"
    shutil.rmtree(out, ignore_errors=True)
    (installed,) = folder.glob("env/lib/python3*/site-packages/vllm")
    shutil.copytree(installed, out / "vllm", ignore=shutil.ignore_patterns("__pycache__"))
    with tempfile.TemporaryDirectory() as place:
        wheel = signatures.download(Path(place), version)
        with zipfile.ZipFile(wheel) as archive:
            names = [it for it in archive.namelist() if it.startswith("vllm/")]
            archive.extractall(out, [it for it in names if it.endswith(_TAKEN)])
    # vLLM knows by this that it is built for CPUs.
    metadata = out / f"vllm-{version}+cpu.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
