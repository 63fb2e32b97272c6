"""Checks the setting `other_models` before anything is deployed.

Each model is read by the schema with which the stream function reads it when it starts:
`lambda_fn.settings.Model`.
"""

import re
from collections.abc import Mapping

from infra.settings.fields import RepeatedNameError, SettingsError, read_json
from lambda_fn.settings import DialectName, Model, read_model
from lambda_fn.settings import SettingsError as ModelError

NAME = r"[\w][\w.:/-]{0,63}"
NAME_FORM = "letters, digits and ._:/-, 64 at most"
_OF_ONE_SERVER = ({"openai", "vllm"}, {"openai", "sglang"}, {"openai", "lmi", "lmi-inputs"})
"""Dialects that one server may speak at once."""


def check(models: Mapping[str, str], *, own: str) -> None:
    """Check every member of every model, and the models against each other.

    Args:
        models: Public name -> `lambda_fn.settings.Model` as JSON.
        own: The public name of the deployment's own model.

    Raises:
        SettingsError: the message names the model, the member, and what is accepted.

    """
    for name in models:
        if re.fullmatch(NAME, name) is None:
            raise SettingsError(f"other_models={name[:80]!r}: a model's name has {NAME_FORM}")
        if name == own:
            raise SettingsError(
                f"other_models={name}: the deployment's own model has this name (model_name={own}); "
                "name one of them otherwise"
            )
    read = {name: _read(name, text) for name, text in models.items()}
    _check_servers(read)


def check_beside(
    models: Mapping[str, str],
    *,
    own: str,
    endpoint: str,
    component: str | None,
    dialect: DialectName,
) -> None:
    """Check models that `check` has accepted against the deployment's own endpoint.

    Raises:
        SettingsError: a model names this endpoint in a way that cannot be right.

    """
    model = Model(endpoint=endpoint, context_tokens=1, component=component, dialect=dialect)
    _check_servers({own: model, **{name: _read(name, text) for name, text in models.items()}})


def _check_servers(models: Mapping[str, Model]) -> None:
    """Raise SettingsError if two models name one endpoint in ways that cannot both be right."""
    seen: dict[tuple[str, str | None], tuple[str, Model]] = {}
    spelled: dict[str, tuple[str, Model]] = {}
    for name, model in models.items():
        other, first = spelled.setdefault(model.endpoint.lower(), (name, model))
        if first.endpoint != model.endpoint:
            raise SettingsError(
                f"other_models={name}: endpoint={model.endpoint}, and {other} has "
                f"endpoint={first.endpoint}: SageMaker has one endpoint of this name, and is called "
                "with its exact case"
            )
        other, first = seen.setdefault((model.endpoint, model.component), (name, model))
        dialects = {first.dialect, model.dialect}
        if len(dialects) > 1 and not any(dialects <= several for several in _OF_ONE_SERVER):
            raise SettingsError(
                f"other_models={name}: dialect={model.dialect}, and {other} has "
                f"dialect={first.dialect}, at the same endpoint={model.endpoint}: one server "
                "speaks one of them"
            )


def _read(name: str, text: str) -> Model:
    try:
        read_json(text)
        return read_model(text)
    except (RepeatedNameError, ModelError) as error:
        raise SettingsError(f"other_models={name}: {error}") from None
    except (ValueError, RecursionError):
        raise SettingsError(f"other_models={name}: must be a JSON object") from None
