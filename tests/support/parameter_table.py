"""The table of docs/reference/parameters.md: what each server gets of each parameter.

`make docs` writes it, and a test fails if the page is out of date. The cells come from the code.
"""

import json
import re
from functools import cache
from pathlib import Path

from lambda_fn.dialects import DIALECTS
from lambda_fn.schema import ChatRequest, parse_chat
from lambda_fn.schema.extras import ALIASES, INERT_EXTRAS, PASSED_EXTRAS, REFUSED
from model.engines import llama_cpp_chunks, vllm_outputs
from tests.lambda_fn.schema.test_parameters import CHAT, fate
from tests.support.bad_requests import GOOD

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "reference" / "parameters.md"
LISTS = json.loads((ROOT / "tests" / "lambda_fn" / "schema" / "servers.json").read_text())
ELSEWHERE = {
    *("include_reasoning", "separate_reasoning", "stream_reasoning", "chat_template_kwargs"),
    *("thinking", "thinking_token_budget", "thinking_budget_tokens", "reasoning_budget_tokens"),
    *("reasoning_format", "reasoning_control", "reasoning_budget_message"),
    *("reasoning_budget_start_tag", "reasoning_budget_end_tag", "reasoning_budget_end_tags"),
}
"""Parameters of reasoning, which are decided apart from these."""
ENGINES = {
    "`sluice`, llama.cpp": llama_cpp_chunks.TAKEN,
    "`sluice`, vLLM": {*vllm_outputs.TAKEN, "structured_outputs"},
}
_BY_LLAMA_CPP = {"structured_outputs"}
_WORDS = {"forwarded": "yes", "rejected": "400", "dropped": "—"}
_PLACE = re.compile(r"(<!-- parameters: `make docs` -->\n).*?(\n<!-- end -->)", re.DOTALL)


def names(kind: str) -> set[str]:
    """Return all names of the servers' lists, of `chat` or of `completions`."""
    return {name for server in LISTS.values() for name in server[kind]}


def undecided(kind: str, fields: tuple[str, ...]) -> set[str]:
    """Return the names of the servers' lists about which nothing is decided."""
    return names(kind) - {*fields, *REFUSED, *INERT_EXTRAS, *ELSEWHERE}


def table() -> str:
    """Return the table."""
    decided = {*ChatRequest.__struct_fields__, *REFUSED, *INERT_EXTRAS}
    head = ["parameter", *ENGINES, *(f"`{name}`" for name in DIALECTS if name != "sluice")]
    rows = [
        f"| `{name}` | {' | '.join(_cells(name))} | {_remark(name)} |"
        for name in sorted(names("chat") & decided)
    ]
    return "\n".join([f"| {' | '.join(head)} | remark |", f"|{'---|' * (len(head) + 1)}", *rows])


def _cells(name: str) -> list[str]:
    found = {dialect: _fate(dialect, name) for dialect in DIALECTS}
    first = ALIASES.get(name, name)
    ours = [
        "400"
        if first in PASSED_EXTRAS and first not in taken and first not in _BY_LLAMA_CPP
        else found["sluice"]
        for taken in ENGINES.values()
    ]
    return [*ours, *(found[dialect] for dialect in DIALECTS if dialect != "sluice")]


@cache
def _fate(dialect: str, name: str) -> str:
    if name in ("model", "stream", "stream_options"):
        return "here"
    example = CHAT.get(name, {name: "x"})
    return _WORDS[fate(dialect, parse_chat, GOOD, name, example)]


def _remark(name: str) -> str:
    if name in REFUSED:
        return REFUSED[name].why
    return "no effect on the answer" if name in INERT_EXTRAS else ""


def documented() -> str:
    """Return the page with the current table and the current versions in it."""
    page = _PLACE.sub(lambda place: f"{place[1]}{table()}{place[2]}", DOCUMENT.read_text())
    versions = "\n".join(f"- [{name}]({server['source']})" for name, server in LISTS.items())
    return re.sub(
        r"(<!-- versions: `make docs` -->\n).*?(\n<!-- end -->)",
        lambda place: f"{place[1]}{versions}{place[2]}",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    DOCUMENT.write_text(documented())
