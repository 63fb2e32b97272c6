"""Turns messages into one text (ChatML): for training, and as a Jinja template for the engine."""

START, END = "<|im_start|>", "<|im_end|>"
PAD = "<|endoftext|>"

# The template treats a developer message as a system message. It lists tools in the first system
# message, and adds one if there is none. It joins the parts of a content list, and writes missing
# content as an empty text. The engine derives the form of a tool call from the template and guides
# the answer by it. The tags are therefore those that many models use.
TEMPLATE = """\
{%- macro text(content) -%}
{%- if content is string -%}{{- content -}}
{%- elif content is iterable and content is not mapping -%}
{%- for part in content -%}{{- part['text'] if part['text'] is defined else '' -}}{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- set first = messages[0]['role'] if messages else '' -%}
{%- set told = first == 'system' or first == 'developer' -%}
{%- if tools -%}
{{- '<|im_start|>system\\n' -}}
{%- if told -%}{{- text(messages[0]['content']) + '\\n\\n' -}}{%- endif -%}
{{- '<tools>' -}}
{%- for tool in tools -%}{{- '\\n' + (tool | tojson) -}}{%- endfor -%}
{{- '\\n</tools><|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if not (tools and told and loop.first) -%}
{%- set role = 'system' if message['role'] == 'developer' else message['role'] -%}
{{- '<|im_start|>' + role + '\\n' + text(message['content']) -}}
{%- if message['tool_calls'] -%}
{%- for call in message['tool_calls'] -%}
{%- set function = call['function'] if call['function'] is defined else call -%}
{%- set given = function['arguments'] -%}
{{- '<tool_call>\\n{"name": "' + function['name'] + '", "arguments": ' -}}
{{- given if given is string else given | tojson -}}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def pieces(messages: list[tuple[str, str]]) -> list[tuple[str, bool]]:
    """Return a conversation as pairs: a text, and whether the model is trained to write it."""
    parts: list[tuple[str, bool]] = []
    for role, text in messages:
        parts.append((f"{START}{role}\n", False))
        parts.append((text + END, role == "assistant"))
        parts.append(("\n", False))
    return parts


def prompt(messages: list[tuple[str, str]]) -> str:
    """Return the prompt of a conversation, up to where the model's answer begins.

    `TEMPLATE` renders the same text with a generation prompt.
    """
    return "".join(text for text, _ in pieces(messages)) + f"{START}assistant\n"
