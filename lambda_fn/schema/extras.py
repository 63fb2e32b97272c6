"""The parameters that vLLM, SGLang and llama.cpp add to OpenAI's requests.

Each parameter of their schemas is a field of `Extras`, or is in `REFUSED` or `INERT_EXTRAS`.
tests/lambda_fn/schema/servers.json has the lists. A test fails for a name without a decision.
"""

from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.parts import Tokens

Share = Annotated[float, Meta(ge=0, le=1)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Key = Annotated[str, Meta(min_length=1, max_length=1_024)]
Regex = Annotated[str, Meta(max_length=10_000)]
Choice = Annotated[str, Meta(min_length=1, max_length=1_000)]
ChoiceList = Annotated[list[Choice], Meta(min_length=1, max_length=500)]
SchemaText = dict[str, Any] | str


class StructuredOutputs(Struct, frozen=True, omit_defaults=True):
    """vLLM's constraint on the form of an answer. Only one of the first four may be set."""

    json: SchemaText | None = None
    json_object: bool | None = None
    regex: Regex | None = None
    choice: ChoiceList | None = None
    grammar: Any = None
    structural_tag: Any = None
    whitespace_pattern: Any = None
    disable_any_whitespace: bool | None = None
    disable_additional_properties: bool | None = None
    disable_fallback: bool | None = None


class Extras(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The parameters that a server may get, in three groups.

    The names of the first group are those that servers get. The second group has other names of
    parameters. The third says in other words what `response_format` and `structured_outputs` say.
    """

    top_k: Annotated[int, Meta(ge=-1, le=1_000_000)] | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    top_n_sigma: Annotated[float, Meta(ge=-1, le=100)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    repeat_last_n: Annotated[int, Meta(ge=0, le=65_536)] | None = None
    xtc_probability: Share | None = None
    xtc_threshold: Share | None = None
    dynatemp_range: Annotated[float, Meta(ge=0, le=2)] | None = None
    dynatemp_exponent: Annotated[float, Meta(ge=0, le=10)] | None = None
    mirostat: Literal[0, 1, 2] | None = None
    mirostat_tau: Annotated[float, Meta(ge=0, le=100)] | None = None
    mirostat_eta: Share | None = None
    min_keep: Annotated[int, Meta(ge=0, le=1_000)] | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=10_000_000)] | None = None
    ignore_eos: bool | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=128)] | None = None
    bad_words: (
        Annotated[
            list[Annotated[str, Meta(min_length=1, max_length=100)]],
            Meta(max_length=128),
        ]
        | None
    ) = None
    allowed_token_ids: Annotated[list[TokenId], Meta(min_length=1, max_length=1_024)] | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    truncate_prompt_tokens: Annotated[int, Meta(ge=-1, le=16_777_216)] | None = None
    truncation_side: Literal["left", "right"] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    cache_salt: Key | None = None
    extra_key: Key | None = None
    structured_outputs: StructuredOutputs | None = None

    repeat_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    no_stop_trim: bool | None = None
    n_predict: Tokens | None = None
    n_cmpl: Annotated[int, Meta(ge=1, le=128)] | None = None

    guided_json: SchemaText | None = None
    guided_regex: Regex | None = None
    guided_choice: ChoiceList | None = None
    regex: Regex | None = None
    json_schema: SchemaText | None = None


ALIASES = {
    "repeat_penalty": "repetition_penalty",
    "no_stop_trim": "include_stop_str_in_output",
    "n_predict": "max_tokens",
    "n_cmpl": "n",
}
"""Names of llama.cpp and SGLang for what has another name here."""
FORMS = ("guided_json", "guided_regex", "guided_choice", "regex", "json_schema")
"""Parameters that become `response_format` or `structured_outputs`."""
PASSED_EXTRAS = tuple(
    name for name in Extras.__struct_fields__ if name not in ALIASES and name not in FORMS
)
"""Parameters that servers get, unless they have no effect or the server does not take them."""
NEUTRAL: dict[str, Any] = {
    "top_k": -1,
    "min_p": 0,
    "typical_p": 1,
    "top_n_sigma": -1,
    "repetition_penalty": 1,
    "xtc_probability": 0,
    "dynatemp_range": 0,
    "mirostat": 0,
    "min_keep": 0,
    "min_tokens": 0,
    "ignore_eos": False,
    "stop_token_ids": [],
    "bad_words": [],
    "include_stop_str_in_output": False,
    "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
    "add_generation_prompt": True,
    "continue_final_message": False,
    "return_tokens_as_token_ids": False,
}
"""Values that change no answer.

They are accepted even if the server does not take the parameter.
"""


class Refused(NamedTuple):
    """Why a parameter is refused, and the accepted values, which change no answer."""

    why: str
    allowed: tuple[object, ...] = ()


_CODE = "it would run code that the caller chooses in the server, which other callers share"
_INTERNAL = "it belongs to the operation of the server, which the deployment decides"
_PLACE = "the response has no place for it"
_GRAMMAR = "free grammars have no bound on the time that an engine takes; use 'response_format'"
_BEAMS = "a beam search cannot be streamed"
_PROMPT = "the prompt is made from 'messages' by the model's own template"
_TEXT = "this is a text model"
_ADAPTERS = "an adapter has its own model name, for which keys are checked: send it as 'model'"
_DRY = (
    "llama.cpp reads its whole vocabulary to prepare it, and no answer goes on in that time; use "
    "'repetition_penalty'"
)
_ORDER = "the order and the choice of samplers are the server's"

REFUSED: dict[str, Refused] = {
    "use_beam_search": Refused(_BEAMS, (False,)),
    "length_penalty": Refused(f"it is for beam searches, and {_BEAMS}", (1,)),
    "early_stopping": Refused(f"it is for beam searches, and {_BEAMS}", (False,)),
    "beam_width": Refused(_BEAMS, (1,)),
    "best_of": Refused("all generated choices are returned, so it must equal 'n'"),
    "echo": Refused("an answer does not repeat the conversation; send it back yourself", (False,)),
    "prompt_logprobs": Refused("servers have no log probabilities of a prompt in a stream", (0,)),
    "logprob_token_ids": Refused("'top_logprobs' has the most likely tokens only", ([],)),
    "n_probs": Refused("use 'logprobs' and 'top_logprobs'", (0,)),
    "post_sampling_probs": Refused("'logprobs' are those before sampling", (False,)),
    "stop_regex": Refused(
        "a server tries such patterns at each token, for some of them endlessly; use 'stop'",
        ("", []),
    ),
    "repetition_detection": Refused(
        "a server would compare each token with many earlier ones; use 'repetition_penalty'"
    ),
    "watermarking": Refused("answers have no watermark here", (False,)),
    "watermark": Refused("answers have no watermark here"),
    "logits_processors": Refused(_CODE, ([],)),
    "custom_logit_processor": Refused(_CODE, ("", [])),
    "custom_params": Refused(f"it is for custom logit processors, and {_CODE}", ({},)),
    "vllm_xargs": Refused("plugins of the server get it unchecked", ({},)),
    "chat_template": Refused(
        "it is a program that would run in the server; the deployment chooses the template"
    ),
    "documents": Refused("put documents into the messages", ([],)),
    "add_special_tokens": Refused(_PROMPT, (False,)),
    "prompt_embeds": Refused(_PROMPT),
    "input_ids": Refused(_PROMPT),
    "input_embeds": Refused(_PROMPT),
    "generation_prompt": Refused(_PROMPT),
    "task": Refused("quick instructions of DeepSeek are not available"),
    "mm_processor_kwargs": Refused(_TEXT, ({},)),
    "media_io_kwargs": Refused(_TEXT, ({},)),
    "images_config": Refused(_TEXT, ({},)),
    "video_config": Refused(_TEXT, ({},)),
    "max_dynamic_patch": Refused(_TEXT),
    "min_dynamic_patch": Refused(_TEXT),
    "use_audio_in_video": Refused(_TEXT, (False,)),
    "guided_grammar": Refused(_GRAMMAR),
    "guided_whitespace_pattern": Refused("the server chooses the white space of JSON"),
    "ebnf": Refused(_GRAMMAR, ("",)),
    "grammar": Refused(_GRAMMAR, ("",)),
    "structural_tag": Refused(_GRAMMAR),
    "grammar_lazy": Refused(_GRAMMAR, (False,)),
    "grammar_triggers": Refused(_GRAMMAR, ([],)),
    "grammar_type": Refused(_GRAMMAR, ("",)),
    "preserved_tokens": Refused(_GRAMMAR, ([],)),
    "chat_format": Refused(_INTERNAL),
    "chat_parser": Refused(_INTERNAL),
    "parse_tool_calls": Refused("tool calls are always parsed", (True,)),
    "priority": Refused("all callers have the same priority", (0,)),
    "kv_transfer_params": Refused(_INTERNAL),
    "ec_transfer_params": Refused(_INTERNAL),
    "bootstrap_host": Refused(_INTERNAL),
    "bootstrap_port": Refused(_INTERNAL),
    "bootstrap_room": Refused(_INTERNAL),
    "routed_dp_rank": Refused(_INTERNAL),
    "disagg_prefill_dp_rank": Refused(_INTERNAL),
    "data_parallel_rank": Refused(_INTERNAL),
    "session_params": Refused("a server keeps no conversations for callers; send all messages"),
    "lora_path": Refused(_ADAPTERS, ("",)),
    "lora": Refused(_ADAPTERS, ([],)),
    "return_token_ids": Refused(_PLACE, (False,)),
    "return_tokens": Refused(_PLACE, (False,)),
    "return_prompt_token_ids": Refused(_PLACE, (False,)),
    "return_prompt_text": Refused(_PLACE, (False,)),
    "return_weight_versions": Refused(_PLACE, (False,)),
    "return_token_offsets": Refused(_PLACE, (False,)),
    "return_mm_kwargs": Refused(_PLACE, (False,)),
    "return_hidden_states": Refused(_PLACE, (False,)),
    "return_routed_experts": Refused(_PLACE, (False,)),
    "return_meta_info": Refused(_PLACE, (False,)),
    "return_input_ids_in_sglext": Refused(_PLACE, (False,)),
    "return_output_ids_in_sglext": Refused(_PLACE, (False,)),
    "return_sampling_mask": Refused(_PLACE, (False,)),
    "return_flat_raw_output_top_logprobs": Refused(_PLACE, (False,)),
    "return_spec_tokens_details": Refused(_PLACE, (False,)),
    "sampling_logprobs_mode": Refused(_PLACE),
    "response_fields": Refused(_PLACE, ([],)),
    "dry_multiplier": Refused(_DRY, (0,)),
    "samplers": Refused(_ORDER),
    "backend_sampling": Refused(_ORDER, (False,)),
    "adaptive_target": Refused(_ORDER),
    "tfs_z": Refused("llama.cpp no longer has it; use 'min_p'", (1,)),
    "penalize_nl": Refused("line feeds are penalised as other tokens are"),
    "image_data": Refused(_TEXT, ([],)),
    "n_indent": Refused("a minimum of indentation is not available", (0,)),
    "t_max_predict_ms": Refused("use 'max_tokens', or a time limit of your client", (-1, 0)),
    "t_max_prompt_ms": Refused("use a time limit of your client", (-1, 0)),
}
"""Parameters that are refused by name: to ignore them would change the answer, or to take them
would endanger the server or its other callers.
"""

INERT_EXTRAS = frozenset(
    {
        # identities, and groups of requests: the API has its own
        *("request_id", "rid", "session_id", "custom_labels", "id_slot"),
        # how a server works, with the same answer
        *("guided_decoding_backend", "cache_prompt", "n_cache_reuse", "stream_interval"),
        *("routed_experts_start_len", "routed_experts_prompt_start", "sse_ping_interval"),
        # what to keep of a context that is shifted, which no server here does
        *("n_keep", "n_discard"),
        # the form or the amount of diagnostics, and of what is refused itself
        *("timings_per_token", "return_progress", "verbose", "return_cached_tokens_details"),
        *("mm_payload", "return_flat_raw_top_logprobs_b64"),
        # details of samplers that are off, because what turns them on is refused
        *("dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers"),
        "adaptive_decay",
        # without drafts of the caller's, each token is the one that the model alone would sample
        *("speculative.n_max", "speculative.n_min", "speculative.p_min", "speculative.type"),
        *("speculative.ngram_size_n", "speculative.ngram_size_m", "speculative.ngram_min_hits"),
    }
)
"""Parameters that have no effect, as unknown ones: they would not change the answer."""

_COMPLETION = {"echo": None, "best_of": None, "add_special_tokens": Refused(_PROMPT, (True,))}
"""The differences of the older endpoint, which has other fields for the first two."""
_names = msgspec.json.Decoder(dict[str, msgspec.Raw])


def check_refused(body: bytes, choices: int, *, chat: bool) -> None:
    """Check that a body, which is a JSON object, has no parameter that is refused.

    `choices` is the request's `n`.

    Raises:
        InvalidRequest: the error names the parameter, and why it is refused.

    """
    try:
        fields = _names.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except UnicodeDecodeError:  # in a name that no type has, which the types do not read
        raise InvalidRequest(
            "The body is not valid JSON: it is not UTF-8.", code="invalid_json"
        ) from None
    for name in REFUSED.keys() & fields.keys():
        refused: Refused | None = REFUSED[name]
        if not chat and name in _COMPLETION:
            refused = _COMPLETION[name]
        if refused is None:
            continue
        try:
            value = msgspec.json.decode(fields[name])
        except (ValueError, RecursionError):  # no value that asks for nothing
            value = ...
        if value is None or value in refused.allowed:
            continue
        if name == "best_of" and value == choices:
            continue
        raise InvalidRequest(
            f"Unsupported parameter: '{name}': {refused.why}.",
            param=name,
            code="unsupported_parameter",
        )
