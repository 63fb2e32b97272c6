"""Parameters of servers at the ends of their ranges and beyond, alone and together; tokenizers."""

import asyncio
import random
from typing import Any

import httpx

from lambda_fn.schema.extras import Extras
from tests.attack.target import MODEL, Findings, Target

KIND = "samplers"

_TOGETHER = 60
_SEED = 1
_VALUES: dict[str, tuple[Any, ...]] = {
    "allowed_token_ids": ([0], [2**31 - 1], list(range(1024))),
    "bad_words": (["a"] * 128, [" " * 100], ["\0"]),
    "best_of": (3,),
    "cache_salt": ("x", "y" * 300),
    "chat_template_kwargs": ({"x": "{{7*7}}"}, {"messages": "x"}, {"enable_thinking": True}),
    "continue_final_message": (True,),
    "dry_multiplier": (1,),
    "dynatemp_exponent": (10,),
    "dynatemp_range": (2,),
    "extra_key": ("z",),
    "frequency_penalty": (-2, 2),
    "add_generation_prompt": (False,),
    "grammar": ("root ::= root root",),
    "guided_choice": (["a"], ["b" * 1000] * 300),
    "guided_json": ("x", {"type": "array", "minItems": 5, "maxItems": 2}),
    "guided_regex": ("^a$", "((a{1,99}){1,99}){1,99}"),
    "ignore_eos": (True,),
    "include_stop_str_in_output": (True,),
    "json_schema": ("{}", {"type": "integer"}),
    "logit_bias": ({"999999999": -100}, {"0": 100, "1": -100}),
    "logprobs": (True,),
    "min_keep": (1000,),
    "min_p": (1, 1e-300),
    "min_tokens": (5, 10**7),
    "mirostat": (1, 2),
    "mirostat_eta": (1,),
    "mirostat_tau": (100, 1e-9),
    "n": (3, 128, 129),
    "n_cmpl": (2,),
    "n_predict": (-1, 3),
    "no_stop_trim": (True,),
    "reasoning": ({"effort": "high"}, {"max_tokens": 10**30}),
    "reasoning_effort": ("max", "none"),
    "regex": ("^b$", "(a+)+$"),
    "repeat_last_n": (65_536,),
    "repeat_penalty": (1e-300,),
    "repetition_penalty": (1e-300, 2),
    "return_tokens_as_token_ids": (True,),
    "seed": (-(2**63), 2**63 - 1, 2**64),
    "skip_special_tokens": (False,),
    "spaces_between_special_tokens": (False,),
    "stop": (["x" * 1000] * 32, [""]),
    "stop_token_ids": ([2**31 - 1] * 128, [-1]),
    "stream": (True,),
    "structured_outputs": ({"regex": "(a+)+$"}, {"choice": ["a"]}, {"grammar": "root ::= root"}),
    "temperature": (0, 2, 1e-30),
    "thinking_token_budget": (1, 0),
    "top_k": (1_000_000, 0),
    "top_logprobs": (20,),
    "top_n_sigma": (1e-9, 100),
    "top_p": (0, 1e-12),
    "truncate_prompt_tokens": (1, 16_777_216),
    "truncation_side": ("left",),
    "typical_p": (0, 1e-9),
    "xtc_probability": (1,),
    "xtc_threshold": (0, 1e-9),
}
"""Values of every parameter of `Extras`, and of those that change how tokens are chosen."""

_TEXTS = {
    "one letter": "a" * 900_000,
    "spaces": " " * 900_000,
    "digits": "1" * 900_000,
    "marks on one letter": "a" + "\u0301" * 150_000,
    "faces": "\U0001f600" * 70_000,
    "special tokens": "<|im_start|>" * 70_000,
}


async def attack(target: Target, findings: Findings) -> None:
    """Send each value alone, random values together, and long texts to the tokenizer."""
    untried = set(Extras.__struct_fields__) - _VALUES.keys()
    findings.check("every parameter of servers is tried", not untried, untried)
    chosen = random.Random(_SEED)
    changes = [{name: value} for name, values in _VALUES.items() for value in values]
    changes += [
        {name: chosen.choice(_VALUES[name]) for name in chosen.sample(sorted(_VALUES), 4)}
        for _ in range(_TOGETHER)
    ]
    turns = asyncio.Semaphore(6)
    async with target.client() as client:

        async def send(name: str, path: str, body: dict[str, Any]) -> None:
            async with turns:
                try:
                    answer = await client.post(path, json=body)
                except httpx.HTTPError as error:
                    findings.check(name, False, repr(error))
                    return
            if answer.status_code == 200:
                findings.check(name, '"error"' not in answer.text, answer.text)
            else:
                findings.refusal(name, answer, 400)

        async with asyncio.TaskGroup() as group:
            for change in changes:
                body = target.chat(**{"max_tokens": 4, **change})
                if "n_predict" in change:
                    del body["max_tokens"]
                group.create_task(send(str(change)[:90], "/v1/chat/completions", body))
            for name, text in _TEXTS.items():
                group.create_task(send(f"{name}, to be tokenized", "/tokenize", {"prompt": text}))
            for tokens in ([2**31 - 1], [0] * 100_000, [-1]):
                body = {"model": MODEL, "tokens": tokens}
                group.create_task(send(f"tokens {tokens[:1]}", "/detokenize", body))
