"""Which of `Extras` each kind of server takes, and under which name.

The lists follow the servers' own request types: vLLM from 0.10, SGLang from 0.4.6. Both ignore
names that they do not know, so a server gets only what it takes.
"""

from typing import Any

from lambda_fn.schema.extras import NEUTRAL, PASSED_EXTRAS

BOTH = (
    "top_k",
    "min_p",
    "repetition_penalty",
    "min_tokens",
    "ignore_eos",
    "stop_token_ids",
    "include_stop_str_in_output",
    "skip_special_tokens",
    "continue_final_message",
    "cache_salt",
    "structured_outputs",
)
"""The parameters that vLLM and SGLang both take.

Servers of the dialect `openai` get them under the names of both.
"""
VLLM = (
    *BOTH,
    "bad_words",
    "allowed_token_ids",
    "spaces_between_special_tokens",
    "truncate_prompt_tokens",
    "truncation_side",
    "add_generation_prompt",
    "return_tokens_as_token_ids",
)
SGLANG = (*BOTH, "extra_key")
LMI_INPUTS = ("top_k", "repetition_penalty")


def untaken(request: Any, taken: tuple[str, ...]) -> str | None:
    """Return the first parameter that asks for something and is not taken, or None."""
    for name in PASSED_EXTRAS:
        value = getattr(request, name)
        if value is None or name in taken or value == NEUTRAL.get(name, ...):
            continue
        if name != "add_generation_prompt" or not request.continue_final_message:
            return name  # a prompt that ends in the beginning of the answer needs no other end
    return None


def shaped(fields: dict[str, Any], taken: tuple[str, ...]) -> dict[str, Any]:
    """Return the members of a body without those that are not taken, and with servers' names."""
    left_out = {name for name in PASSED_EXTRAS if name in fields and name not in taken}
    if left_out:
        fields = {name: value for name, value in fields.items() if name not in left_out}
    if fields.get("top_k") == 0:  # SGLang and early versions of vLLM have only -1 for no bound
        fields["top_k"] = -1
    if fields.get("continue_final_message"):
        fields["add_generation_prompt"] = False  # vLLM needs both
    if "include_stop_str_in_output" in fields and taken is not VLLM:
        fields["no_stop_trim"] = fields["include_stop_str_in_output"]
    if (outputs := fields.get("structured_outputs")) is not None:
        for kind, value in outputs.items():  # one: a choice or a regular expression
            if taken is not SGLANG:
                fields[f"guided_{kind}"] = value  # vLLM before 0.12
            if taken is not VLLM:
                fields["regex"] = value if kind == "regex" else _either(value)
        if taken is SGLANG:
            del fields["structured_outputs"]
    if taken is SGLANG:
        fields.pop("include_stop_str_in_output", None)
        fields.pop("add_generation_prompt", None)
    return fields


_ESCAPED = str.maketrans({sign: f"\\{sign}" for sign in "\\^$.|?*+()[]{}"})
"""Python's own escapes are more, and not every engine reads them."""


def _either(choices: list[str]) -> str:
    return f"({'|'.join(choice.translate(_ESCAPED) for choice in choices)})"
