"""The models of a deployment: where each one runs, what it accepts, and what it costs."""

import re
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from lambda_fn import limits
from lambda_fn.settings.variables import SettingsError

MAX_CONTEXT_TOKENS = 16_777_216
"""The largest context of a model, in tokens. No server offers a larger one."""
MAX_PRICE = 1_000_000_000
"""The largest price of a token, in nano-USD: a million USD for a million tokens."""
DialectName = Literal["sluice", "openai", "vllm", "sglang", "lmi", "lmi-inputs", "tgi"]
_Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*\Z", max_length=63)]
_Tokens = Annotated[int, Meta(ge=1, le=MAX_CONTEXT_TOKENS)]
_Tags = Annotated[str, Meta(pattern=r"^[<\[][!-~]{1,30}[>\]]( [<\[][!-~]{1,30}[>\]])?\Z")]
_Price = Annotated[int, Meta(ge=0, le=MAX_PRICE)]
MAX_IMAGES = 64
"""The largest value of `max_images`."""
HOST = r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}"
"""The name of a host in lower case, or `*.` and a name. It is not an IP address."""
_Host = Annotated[str, Meta(pattern=rf"^{HOST}\Z", max_length=253)]


class PriceChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The prices of a model from a moment on, nano-USD a token. They replace all before."""

    since: Annotated[int, Meta(ge=0, le=10**11)]
    """Unix seconds."""
    prompt_price: _Price
    completion_price: _Price
    cached_price: _Price | None = None
    image_price: _Price | None = None
    reasoning_price: _Price | None = None


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One public model: its endpoint, its context size and its prices.

    A prompt and its completion may have `context_tokens` together. `default_max_tokens` is the
    limit of a request that names none; None leaves it to the context. Prices are in nano-USD per
    token. A price of 0 is valid; None means that the model has no price.

    A deployment is checked with this schema before it is made, and the function reads it again.
    """

    endpoint: _Name
    context_tokens: _Tokens
    dialect: DialectName = "sluice"
    """The dialect that its server speaks; see `lambda_fn.dialects`."""
    component: _Name | None = None
    """The inference component to invoke, on an endpoint that has components."""
    default_max_tokens: _Tokens | None = None
    prompt_price: _Price | None = None
    completion_price: _Price | None = None
    cached_price: _Price | None = None
    """Of a prompt's tokens that the server had cached. None: as all of the prompt's."""
    image_price: _Price | None = None
    """Of the tokens that images may have. None: as all of the prompt's."""
    reasoning_price: _Price | None = None
    """Of a completion's tokens that are reasoning. None: as all of the completion's."""
    price_changes: tuple[PriceChange, ...] = ()
    """Later prices, in the order of their times."""
    reasoning: Literal["shown", "hidden", "none"] = "shown"
    """Whether clients get the model's reasoning. `none` is a model that does not reason."""
    reasoning_tags: _Tags | None = None
    """The tags around reasoning in the content, of a server without a reasoning parser. One tag
    alone is the closing one: the answer begins with reasoning.
    """
    reasoning_budget: bool = True
    """Whether the server takes a maximum of reasoning tokens."""
    embeddings: bool = False
    """Whether the model makes embeddings, on vLLM's server."""
    max_images: Annotated[int, Meta(ge=0, le=MAX_IMAGES)] = 0
    """The maximum number of images in a request. With 0, the model reads no images."""
    image_tokens: _Tokens | None = None
    """The maximum number of tokens that the model's server makes of an image."""
    image_hosts: tuple[_Host, ...] = ()
    """The hosts from which the function fetches images; `*.example.com` for all below a name."""

    @property
    def max_body(self) -> int:
        """The maximum size of a request's body in bytes."""
        return limits.MAX_BODY_WITH_IMAGES if self.max_images else limits.MAX_BODY

    @property
    def priced(self) -> bool:
        """Whether the model has prices, so that cost budgets can count its tokens."""
        return self.prompt_price is not None and self.completion_price is not None

    def prices_at(self, when: float) -> tuple[int, int, int | None, int | None, int | None]:
        """Return the prices of a Unix time: prompt, completion, cached, image, reasoning.

        Without prices, those of prompt and completion are 0.
        """
        prices: Model | PriceChange = self
        for change in self.price_changes:
            if change.since <= when:
                prices = change
        return (
            prices.prompt_price or 0,
            prices.completion_price or 0,
            prices.cached_price,
            prices.image_price,
            prices.reasoning_price,
        )


_DIALECTS = get_args(DialectName)
_SAGEMAKER_NAME = "letters, digits and hyphens, 63 at most, as SageMaker lists it (no ARN, no URL)"
_NANO_USD = (
    f"a whole number of nano-USD a token from 0 to {MAX_PRICE}, which is 1,000 times the price in "
    "USD of a million tokens"
)
FORMS = {
    "endpoint": f"the name of an endpoint in the deployment's region: {_SAGEMAKER_NAME}",
    "context_tokens": f"a whole number from 1 to {MAX_CONTEXT_TOKENS}, without quotes",
    "dialect": " or ".join((", ".join(_DIALECTS[:-1]), _DIALECTS[-1])),
    "component": f"the name of an inference component: {_SAGEMAKER_NAME}; or null",
    "default_max_tokens": f"a whole number from 1 to {MAX_CONTEXT_TOKENS}, without quotes; or null",
    "prompt_price": f"{_NANO_USD}; or null",
    "completion_price": f"{_NANO_USD}; or null",
    "cached_price": f"{_NANO_USD}; or null",
    "image_price": f"{_NANO_USD}; or null",
    "reasoning_price": f"{_NANO_USD}; or null",
    "price_changes": "a list of objects with since (Unix seconds), prompt_price, completion_price, "
    "and cached_price, image_price and reasoning_price if they differ, in the order of since",
    "max_images": f"a whole number from 0, which means no images, to {MAX_IMAGES}",
    "image_tokens": f"a whole number from 1 to {MAX_CONTEXT_TOKENS}; or null",
    "image_hosts": 'a list of host names in lower case, such as ["*.example.com"]',
    "reasoning": "shown, hidden or none",
    "reasoning_tags": "two tags with a space between, as <think> </think>, or the closing one alone",
    "reasoning_budget": "true or false",
    "embeddings": "true or false",
}
"""What each member of a `Model` accepts, in words."""
_model = msgspec.json.Decoder(Model)
_raw_models = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PLACE = re.compile(r" - at `\$\.(\w+)`")
_MEMBER = re.compile(r"(missing required|contains unknown) field `([^`]*)`")


def read_model(text: str | bytes | msgspec.Raw) -> Model:
    """Return the model that a JSON object describes.

    Raises:
        SettingsError: the message names the member, and what it accepts.

    """
    try:
        model = _model.decode(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(_why(str(error))) from None
    for name in (
        "context_tokens",
        "default_max_tokens",
        "prompt_price",
        "completion_price",
        "cached_price",
        "image_price",
        "reasoning_price",
        "image_tokens",
    ):
        # msgspec compares only numbers of 64 bits.
        if (getattr(model, name) or 0) > max(MAX_CONTEXT_TOKENS, MAX_PRICE):
            raise SettingsError(f"{name}: must be {FORMS[name]}")
    _check_prices(model)
    if model.max_images and model.dialect == "lmi-inputs":
        raise SettingsError("max_images: must be 0 for the dialect lmi-inputs, which has only text")
    return model


def _check_prices(model: Model) -> None:
    named = (model.cached_price, model.image_price, model.reasoning_price)
    if not model.priced and (model.price_changes or any(price is not None for price in named)):
        raise SettingsError("prompt_price and completion_price: other prices need both")
    times = [change.since for change in model.price_changes]
    if times != sorted(set(times)):
        raise SettingsError(f"price_changes: must be {FORMS['price_changes']}, each time once")
    for change in model.price_changes:
        if max(price or 0 for price in msgspec.structs.astuple(change)[1:]) > MAX_PRICE:
            raise SettingsError(f"price_changes: each price must be {_NANO_USD}")


def _why(error: str) -> str:
    """Return msgspec's error in words for the person who deploys, without the value."""
    if (place := _PLACE.search(error)) is not None:
        return f"{place[1]}: must be {FORMS[place[1]]}"
    if (member := _MEMBER.search(error)) is None:
        return "must be a JSON object"
    if member[1].startswith("missing"):
        return f"needs endpoint, context_tokens, and a known dialect; {member[2]} is missing"
    return f"{member[2][:64]}: there is no such member; there are {', '.join(FORMS)}"


def read_models(text: str) -> tuple[dict[str, Model], dict[str, str]]:
    """Return the models that can be read, and why others cannot."""
    try:
        raw = _raw_models.decode(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"SLUICE_MODELS: {error}") from None
    models: dict[str, Model] = {}
    unreadable: dict[str, str] = {}
    for name, value in raw.items():
        try:
            models[name] = read_model(value)
        except SettingsError as error:
            unreadable[name] = str(error)
    if not models:
        reasons = "".join(f"; {name}: {reason}" for name, reason in unreadable.items())
        raise SettingsError(f"SLUICE_MODELS names no model that can be served{reasons}")
    return models, unreadable
