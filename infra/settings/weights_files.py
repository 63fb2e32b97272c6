"""Checks the setting `weights` by its name, and by the file if it is on this machine.

`sluice preflight` and the container check the files of a prefix in S3, with the same code
(`model.weights`).
"""

from pathlib import Path

from demo_model import WEIGHTS
from infra.settings.fields import SettingsError
from model import weights
from model.errors import StartError

PACKED = ".tar.gz"
"""The archives that SageMaker unpacks."""


def check_name(location: str, *, reads_gguf: bool) -> None:
    """Check the name of one file or object. Prefixes and repositories are not checked.

    Args:
        location: The setting.
        reads_gguf: Whether the engine reads GGUF files, and not Hugging Face models.

    Raises:
        SettingsError: the name shows that the model cannot be served from there.

    """
    name = location.rpartition("/")[2]
    if not name or name.endswith(PACKED) or location.startswith("hf:"):
        return
    if not reads_gguf:
        raise SettingsError(
            f"weights={location}: one object is not a Hugging Face model, which has several files; "
            "set s3://bucket/prefix/ with a slash at its end (sluice model push)"
        )
    if weights.is_part(name):
        raise SettingsError(
            f"weights={location}: is one part of a split model; put all parts below one prefix "
            "(sluice model push FOLDER), and set weights=s3://bucket/prefix/"
        )
    if not location.startswith("s3://") and not Path(name).suffix:
        return  # perhaps a folder, which `check_file` names
    try:
        weights.find_gguf([weights.File(name, 1)], location.removesuffix(name) or ".")
    except StartError as error:
        raise SettingsError(f"weights={location}: {error}") from None


def check_file(path: Path, location: str) -> None:
    """Check a file that is uploaded with the deployment.

    Raises:
        SettingsError: it is not there, or is not a GGUF model.

    """
    try:
        is_folder = path.is_dir()
    except OSError as error:  # a folder on the way to it may not be looked into
        raise SettingsError(f"weights={location}: {path}: {error.strerror}") from None
    if is_folder:
        raise SettingsError(
            f"weights={location}: is a folder; put it into S3 (sluice model push {location}) and "
            "set the address that this prints, or name one file"
        )
    if not path.is_file():
        raise SettingsError(
            f"weights={location}: there is no such file; set weights to a GGUF file or an s3:// URI"
        )
    if path.name == WEIGHTS.name or path.name.endswith(PACKED):
        return  # the container knows the demo model's checksum
    try:
        head = weights.GgufModel((path.name,)).check(path.parent)
    except StartError as error:
        raise SettingsError(f"weights={location}: {error}") from None
    if head.template is None:
        raise SettingsError(
            f"weights={location}: the file has no chat template; put it into a folder with the "
            "file of one, push the folder (sluice model push FOLDER), and let SLUICE_CHAT_TEMPLATE "
            "(in the setting environment) name that file"
        )
