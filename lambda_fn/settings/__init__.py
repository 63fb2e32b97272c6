"""The settings of the functions, each read from the environment once.

The stream function, the recall function and the functions of sockets have one `Settings`
(stream.py). It has the models (models.py) and the policies (policies.py). The other functions read
fewer variables, in their own packages: `control/settings.py`, `sweep/settings.py` and
`background/settings.py`. variables.py reads one variable for all of them.
"""

from lambda_fn.settings.models import (
    FORMS,
    HOST,
    MAX_CONTEXT_TOKENS,
    MAX_IMAGES,
    MAX_PRICE,
    DialectName,
    Model,
    PriceChange,
    read_model,
)
from lambda_fn.settings.policies import (
    NO_MODERATION,
    NO_REDACTION,
    Background,
    Guardrail,
    Moderation,
    Redaction,
)
from lambda_fn.settings.stream import Settings
from lambda_fn.settings.variables import SettingsError

__all__ = [
    "FORMS",
    "HOST",
    "MAX_CONTEXT_TOKENS",
    "MAX_IMAGES",
    "MAX_PRICE",
    "NO_MODERATION",
    "NO_REDACTION",
    "Background",
    "DialectName",
    "Guardrail",
    "Model",
    "Moderation",
    "PriceChange",
    "Redaction",
    "Settings",
    "SettingsError",
    "read_model",
]
