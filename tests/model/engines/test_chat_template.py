"""Chat templates: their failures in llama.cpp's words, and the process that tries them first."""

from __future__ import annotations

import pytest

from demo_model.chat import TEMPLATE
from model.engines.chat_template import check, sentence
from model.errors import StartError

DUMP = (
    "Unable to generate parser for this template. Automatic parser generation failed: \n"
    "------------\nWhile executing CallExpression at line 1, column 105 in source:\n"
    "...x0-1].role %}{{ raise_exception('Conversation roles must alternate user...\n"
    "                                           ^\n"
)
DOUBLING = (
    "{% set n = namespace(s='aaaaaaaaaa') %}{% for i in range(40) %}{% set n.s = n.s + n.s %}"
    "{% endfor %}{{ n.s }}"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DUMP + "Error: Jinja Exception: roles must alternate", "roles must alternate"),
        (DUMP + "Error: Jinja Exception: two\nlines", "two\nlines"),
        (DUMP + "Error: Jinja Exception: ", "it gives no reason"),
        (DUMP + "Error: Jinja Exception: no\n0.00.065.089 E srv  init: please", "no"),
        (DUMP + "Error: Callee is not a function", "Callee is not a function"),
        ("E x: error: parser: Parser Error: Expected }}\n...{% for\n", "Parser Error: Expected }}"),
        ("the request exceeds the available context size", None),
        ("Error: something else", None),
    ],
)  # fmt: skip
def test_sentence(text: str, said: str | None) -> None:
    """Only the raised sentence is kept of llama.cpp's dump of the template."""
    assert sentence(text) == said


@pytest.mark.parametrize(
    "template",
    [
        TEMPLATE,
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
        "{{ 'a long default prompt. ' * 900 }}{{ messages[-1].content }}",
        # github.com/nomic-ai/gpt4all/issues/3282: gemma-2's
        (
            "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
            "{{ raise_exception('System role not supported') }}{% endif %}"
            "{% for message in messages %}{% if (message['role'] == 'user') != "
            "(loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate "
            "user/assistant/user/assistant/...') }}{% endif %}{{ message['content'] | trim }}"
            "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
        ),
    ],
)
async def test_templates_that_work(template: str) -> None:
    """A template that renders some conversation is accepted."""
    await check(template)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('not for chats') }}", "fails for every conversation: not for chats;"),
        ("{% for m in messages %}{{ m.content", "Parser Error: Expected }}"),
        ("{{ messages[0].content | nosuchfilter }}", "Unknown .built-in. filter 'nosuchfilter'"),
        ("{{ nothing.at() }}", "fails for every conversation: "),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "crashes the engine, or takes more"),
        ("{% for i in range(1000000000) %}x{% endfor %}", "(crashes the engine|fails for every)"),
        (DOUBLING, "(crashes the engine|fails for every)"),
    ],
)
async def test_templates_that_do_not(template: str, said: str) -> None:
    """A template that fails, loops, recurses or allocates without end is refused with a reason."""
    with pytest.raises(StartError, match=said) as caught:
        await check(template, cpu_seconds=1.5)
    assert "While executing" not in str(caught.value)
    assert "\n" not in str(caught.value)
