"""Content negotiation: which form of response and which buffering a request gets.

    /v1/chat/completions                      chat.completion.chunk events, or one chat.completion
    /v1/chat/completions, Accept: text/plain  bare text as it comes
    /v1/completions                           text_completion events, or one text_completion
    /v1/messages                              Anthropic's events, or one message
    /v1/responses                             OpenAI's typed events, or one response
    /v1/responses/compact                     one compaction

A request asks for buffering in its body (`"sluice": {"buffer": "word"}`) or by the header
`x-sluice-buffer`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import msgspec

from lambda_fn.dialects import Dialect
from lambda_fn.encode import Head
from lambda_fn.encode.base import Form
from lambda_fn.errors import APIError, InvalidRequest
from lambda_fn.schema import (
    Buffering,
    ChatRequest,
    Rules,
    StreamOptions,
    parse_chat,
    parse_completion,
    prompt_of,
    unsupported,
)
from lambda_fn.schema.reasoning import restate, served, wanted
from lambda_fn.schema.tools import JsonObject, JsonSchema
from lambda_fn.settings import NO_MODERATION, NO_REDACTION, Model, Moderation, Redaction
from lambda_fn.transform import Buffer, Transform, chain

if TYPE_CHECKING:
    from lambda_fn.schema.responses import History, ResponsesRequest
    from lambda_fn.schema.responses.items import Item
    from lambda_fn.stream_log.conversations import Conversation

BUFFER_HEADER = "x-sluice-buffer"
_LENIENT = Rules()


class Policy(NamedTuple):
    """The filters of a response: those of its deployment, and the kinds that its key adds.

    A kind that is unknown here is one of a later version.

    `secret` and `key_id` are what pseudonyms are made of. `blocks` tells whether the rules of
    moderation end the response, and `flagged` gets what they find.
    """

    redaction: Redaction = NO_REDACTION
    moderation: Moderation = NO_MODERATION
    kinds: tuple[str, ...] = ()
    secret: str = ""
    key_id: str = ""
    blocks: bool = True
    flagged: set[str] | None = None


NO_POLICY = Policy()


class ReadRequest(msgspec.Struct, frozen=True):
    """A parsed request: the request to the model, and the form of the response with its options."""

    request: ChatRequest
    form: Form
    buffering: str = "none"
    include_usage: bool = False
    obfuscate: bool = True
    echo: str = ""
    stops: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    thinking: bool | msgspec.UnsetType = msgspec.UNSET
    echoes: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    summary: bool | msgspec.UnsetType = msgspec.UNSET
    images: tuple[str, ...] = ()
    """The paths of the request's images in its body, if that is no chat request."""
    soft_thinking: bool = False
    """Whether the request's wishes about thinking have no effect on a model that cannot follow
    them."""

    kept_items: tuple[msgspec.Raw, ...] | None = None
    """The request's own input if its response is kept, as JSON."""
    kept_seconds: int | None = None
    """How long the response is kept. None: as long as the deployment says."""
    ancestors: tuple[str, ...] = ()
    """The ids of the responses before it, which are kept."""
    history_size: int = 0
    """The size in bytes of what the request takes over from them."""
    metadata: dict[str, str] | None = None
    conversation: "Conversation | None" = None
    """The conversation whose items come before the request, as it was read."""
    background: bool = False
    """Whether the response goes on without its client, who reads it later."""

    @property
    def durable(self) -> bool | None:
        """Whether the request asks for a log of its response; None if it does not say."""
        if self.background and self.request.stream:
            return True
        return None if self.request.sluice is None else self.request.sluice.durable

    @property
    def is_stored_chat(self) -> bool:
        """Whether the response is a chat completion that its request wants stored."""
        return self.kept_items is not None and not self.tells_time

    @property
    def appends(self) -> bool:
        """Whether the request and its response are appended to a conversation."""
        return self.conversation is not None and self.kept_items is not None

    @property
    def on_cut(self) -> str | None:
        """What the request asks for if its container ends first: `continue`, `fail`, or nothing."""
        return None if self.request.sluice is None else self.request.sluice.on_cut

    @property
    def tells_time(self) -> bool:
        """Whether the response tells when it was completed."""
        return self.form == "responses_stream" or self.form == "responses_body"

    def head(
        self,
        *,
        response_id: str,
        created: int,
        fingerprint: str | None,
        max_bytes: int,
        logged: bool = False,
    ) -> Head:
        """Return the head of the response; the arguments are those of `Head`.

        If the response is `logged`, its stream has wire numbers.
        """
        request = self.request
        numbered = logged and not self.form.endswith("_body")
        return Head(
            response_id=response_id,
            created=created,
            model=request.model,
            choices=request.n or 1,
            fingerprint=fingerprint,
            service_tier=None if request.service_tier is None else "default",
            max_bytes=max_bytes,
            form=self.form,
            include_usage=self.include_usage,
            obfuscate=self.obfuscate,
            echo=self.echo,
            stops=self.stops,
            thinking=self.thinking,
            echoes=self.echoes,
            summary=self.summary,
            numbered=True if numbered else msgspec.UNSET,
            queued=True if self.background and numbered else msgspec.UNSET,
        )

    def restate(self, error: APIError) -> None:
        """Name the members that the caller sent in an error about the chat request."""
        restate(self.request, error)
        if self.tells_time or self.form == "compaction_body":
            from lambda_fn.schema.responses import restate as restate_response

            restate_response(error)

    @property
    def unkept(self) -> "ReadRequest":
        """The same request, whose response cannot be kept."""
        if isinstance(self.echoes, msgspec.UnsetType):  # only responses have them
            return msgspec.structs.replace(self, kept_items=None)
        from lambda_fn.schema.responses import unkept

        return msgspec.structs.replace(self, echoes=unkept(self.echoes), kept_items=None)

    def named(self, model: str) -> "ReadRequest":
        """Return this request with the model's own name in place of an alias."""
        if model == self.request.model:
            return self
        request = msgspec.structs.replace(self.request, model=model)
        return msgspec.structs.replace(self, request=request)

    def served_by(self, model: Model, dialect: Dialect) -> "ReadRequest":
        """Return this request as its model gets it. Raises InvalidRequest for what the model cannot
        do about reasoning.
        """
        request = served(
            self.request,
            reasons=model.reasoning != "none",
            budgets=model.reasoning_budget,
            soft=self.soft_thinking,
            switches=dialect.switches,
        )
        return self if request is self.request else msgspec.structs.replace(self, request=request)

    def transform(self, model: Model, policy: Policy = NO_POLICY) -> Transform | None:
        """Return a new transform of the response's events, or None if nothing changes them.

        It separates or hides reasoning, redacts and moderates. A request can only add to the
        policy.
        """
        asked, choices = wanted(self.request), self.request.n or 1
        hidden = asked.hidden or model.reasoning == "hidden"
        reasoning: Transform | None = None
        if hidden or model.reasoning_tags is not None:
            from lambda_fn.transform.reasoning import Separate  # not at a cold start

            tags = None if model.reasoning == "none" else model.reasoning_tags
            reasoning = Separate(choices, tags, hidden=hidden, off=asked.off)
        redacting: Transform | None = None
        redaction, extensions = policy.redaction, self.request.sluice
        own = () if extensions is None or extensions.redact is None else extensions.redact
        kinds = frozenset((*redaction.kinds, *policy.kinds, *own))
        if kinds or redaction.patterns or redaction.words:
            from lambda_fn.patterns.known import machine_of  # not at a cold start
            from lambda_fn.transform.redaction import Redact, label, pseudonyms

            redacting = Redact(
                choices,
                machine_of(
                    kinds, tuple(redaction.patterns.items()), tuple(redaction.words.items())
                ),
                pseudonyms(policy.secret, policy.key_id) if redaction.pseudonyms else label,
                json=_is_json(self.request),
            )
        screening: Transform | None = None
        if policy.moderation.has_rules:
            from lambda_fn.transform.moderation import Screen, rules_of  # not at a cold start

            rules = rules_of(policy.moderation.patterns, policy.moderation.words)
            screening = Screen(
                choices,
                rules,
                json=_is_json(self.request),
                flagged=policy.flagged,
                blocks=policy.blocks,
            )
        return chain(reasoning, redacting, screening)

    def finishing(self, secrets: Sequence[str] = (), key_id: str = "") -> Transform | None:
        """Return a new transform of the events that are let out: citations and buffering.

        A compaction is sealed with `secrets` for the key with this id.
        """
        if self.form == "compaction_body":
            from lambda_fn.seals import Seals  # not at a cold start
            from lambda_fn.transform.sealing import Seal

            return Seal(Seals(secrets, key_id).seal)
        citing: Transform | None = None
        choices, extensions = self.request.n or 1, self.request.sluice
        if extensions is not None and extensions.sources:
            from lambda_fn.transform.citations import Cite  # not at a cold start

            citing = Cite(choices, extensions.sources)
        buffering = None if self.buffering == "none" else Buffer(self.buffering, choices)
        return chain(citing, buffering)


def _is_json(request: ChatRequest) -> bool:
    """Return whether the content of the answer is to be JSON."""
    form, structured = request.response_format, request.structured_outputs
    return type(form) in (JsonObject, JsonSchema) or (
        structured is not None and (structured.json is not None or bool(structured.json_object))
    )


class Continued(msgspec.Struct, frozen=True):
    """A request that needs what its caller has kept or sealed before it can be read.

    `previous` is the id of the response before it, and `references` are the paths and ids of the
    items that its input refers to. `conversation` is the id of the conversation that it goes on
    with. A request with none of them has a compaction in its input. `read` returns the request.
    """

    previous: str | None
    references: tuple[tuple[str, str], ...]
    conversation: str | None
    read: "Callable[[History], ReadRequest]"


def read_chat(
    body: bytes, headers: Mapping[str, str], rules: Rules = _LENIENT, *, keeps: bool = False
) -> ReadRequest:
    """Read a chat request. `keeps` tells whether the deployment keeps responses.

    Raises:
        InvalidRequest: it is invalid, or cannot be answered in the form that it asks for.

    """
    request = parse_chat(body, rules)
    buffering = _buffering(request, headers)
    _check_sources(request)
    stored: dict[str, Any] = {}
    if request.store:
        if not keeps:
            raise unsupported(
                "store",
                "this deployment keeps no responses (its setting 'persistence' is off). Leave it "
                "out, or send false",
            )
        stored = {"kept_items": tuple(_messages(body)), "metadata": request.metadata}
    if _wants_text(headers.get("accept", "")):
        _check_text(request)
        return ReadRequest(request, "plain_text", buffering, **stored)
    if not request.stream:
        return ReadRequest(request, "chat_body", **stored)
    usage, padding = _stream_options(request.stream_options)
    return ReadRequest(
        request, "chat_stream", buffering, include_usage=usage, obfuscate=padding, **stored
    )


class _Body(msgspec.Struct):
    messages: list[msgspec.Raw]


_body = msgspec.json.Decoder(_Body)


def _messages(body: bytes) -> list[msgspec.Raw]:
    """Return the messages of a checked body as they were sent."""
    return _body.decode(body.removeprefix(b"\xef\xbb\xbf")).messages


def read_completion(
    body: bytes, headers: Mapping[str, str], rules: Rules = _LENIENT
) -> ReadRequest:
    """Read a completion request. Raises as `read_chat`."""
    completion, request = parse_completion(body, rules)
    buffering = _buffering(request, headers)
    if request.sluice is not None and request.sluice.sources:
        raise unsupported("sluice.sources", "a completion has no place for annotations")
    echo = prompt_of(completion) if completion.echo else ""
    if not request.stream:
        return ReadRequest(request, "completion_body", echo=echo)
    usage, padding = _stream_options(request.stream_options)
    return ReadRequest(
        request, "completion_stream", buffering, include_usage=usage, obfuscate=padding, echo=echo
    )


def read_message(body: bytes, headers: Mapping[str, str], rules: Rules = _LENIENT) -> ReadRequest:
    """Read a request of Anthropic's Messages API. Raises as `read_chat`.

    `rules.strict` changes nothing: it refuses what OpenAI refuses, and this is not OpenAI's API.
    """
    from lambda_fn.schema.anthropic import asked, parse_messages  # not at a cold start

    found = asked(parse_messages(body), rules)
    request = found.chat
    buffering = _buffering(request, headers)
    _check_sources(request)
    form: Form = "messages_stream" if request.stream else "messages_body"
    return ReadRequest(
        request,
        form,
        buffering if request.stream else "none",
        stops=found.stops,
        thinking=found.thinking,
        images=found.images,
        soft_thinking=True,
    )


def read_response(
    body: bytes,
    headers: Mapping[str, str],
    rules: Rules = _LENIENT,
    *,
    keeps: bool = False,
    store_default: bool = False,
    before: "History | None" = None,
) -> ReadRequest | Continued:
    """Read a request of OpenAI's Responses API.

    `keeps` tells whether the deployment keeps responses, and `store_default` whether it keeps those
    whose requests have no `store`. `before` is the conversation from which the request goes on, if
    the caller has it. Raises as `read_chat`.
    """
    from lambda_fn.schema.responses import History, parse_responses  # not at a cold start

    request = parse_responses(body, kept=keeps, continues=keeps or before is not None)
    conversation = request.conversation_id
    wanted = store_default or conversation is not None
    store = keeps and (wanted if request.store is None else request.store)
    store = store or request.background is True

    def read(history: History) -> ReadRequest:
        return _read_response(request, body, headers, rules, history, store=store)

    references, sealed = _references(request.input, keeps=keeps)
    if before is not None and (references or sealed):
        return Continued(
            None,
            references,
            None,
            lambda found: read(
                msgspec.structs.replace(
                    before,
                    items=found.items,
                    size=before.size + found.size,
                    unseal=found.unseal,
                )
            ),
        )
    if before is not None:
        return read(before)
    previous = request.previous_response_id
    if previous is None and conversation is None and not references and not sealed:
        return read(History())
    return Continued(previous, references, conversation, read)


def read_compaction(
    body: bytes, headers: Mapping[str, str], rules: Rules = _LENIENT, *, keeps: bool = False
) -> ReadRequest | Continued:
    """Read a request that compacts a conversation. Raises as `read_chat`."""
    from lambda_fn.schema.responses import History, compacted, parse_compact
    from lambda_fn.schema.responses.compact import INSTRUCTION

    request = parse_compact(body, kept=keeps)

    def read(history: History) -> ReadRequest:
        found = compacted(request, rules, history)
        return ReadRequest(
            found.chat,
            "compaction_body",
            echoes=found.echoes,
            images=found.images,
            ancestors=tuple(history.ancestors),
            history_size=history.size + len(INSTRUCTION),  # the prompt has it, too
        )

    references, sealed = _references(request.input or "", keeps=keeps)
    if request.previous_response_id is None and not references and not sealed:
        return read(History())
    return Continued(request.previous_response_id, references, None, read)


def _references(
    items: "str | list[Item]", *, keeps: bool
) -> tuple[tuple[tuple[str, str], ...], bool]:
    """Return the paths and ids of the items that an input refers to, and whether one is sealed."""
    if isinstance(items, str):
        return (), False
    kinds = [item.kind for item in items]
    references = tuple(
        (f"input[{number}]", items[number].id or "")
        for number, kind in enumerate(kinds)
        if keeps and kind == "item_reference"
    )
    return references, "compaction" in kinds


def _read_response(
    request: "ResponsesRequest",
    body: bytes,
    headers: Mapping[str, str],
    rules: Rules,
    history: "History",
    *,
    store: bool,
) -> ReadRequest:
    from lambda_fn.schema.responses import asked, own_items

    found = asked(request, rules, history, store=store)
    chat = found.chat
    buffering = _buffering(chat, headers)
    _check_sources(chat)
    form: Form = "responses_stream" if chat.stream else "responses_body"
    _, padding = _stream_options(chat.stream_options)
    options: dict[str, Any] = {}
    if store:
        own = tuple(own_items(body, history))
        if history.conversation is not None:
            from lambda_fn.stream.conversing import check_items  # few requests name one

            check_items(history.conversation, own)
        options = {
            "kept_items": own,
            "metadata": request.metadata,
            "background": request.background is True,
        }
    return ReadRequest(
        chat,
        form,
        buffering if chat.stream else "none",
        obfuscate=padding,
        echoes=found.echoes,
        summary=found.summary,
        images=found.images,
        ancestors=tuple(history.ancestors),
        history_size=history.size,
        conversation=history.conversation,
        **options,
    )


def _stream_options(options: StreamOptions | None) -> tuple[bool, bool]:
    if options is None:
        return False, True
    return bool(options.include_usage), options.include_obfuscation is not False


def _buffering(request: ChatRequest, headers: Mapping[str, str]) -> str:
    if request.sluice is not None and request.sluice.buffer is not None:
        return request.sluice.buffer
    buffering = headers.get(BUFFER_HEADER, "none").strip().lower()
    if buffering not in get_args(Buffering):
        names = ", ".join(get_args(Buffering))
        raise InvalidRequest(
            f"The header {BUFFER_HEADER} must be one of {names}.", param=BUFFER_HEADER
        )
    return buffering


def _wants_text(accept: str) -> bool:
    """Return whether the caller prefers plain text to JSON and to an event stream.

    A header that allows several of them alike does not ask for plain text: many clients list it.
    """
    if "text/plain" not in accept.lower():
        return False
    from lambda_fn.http.media_ranges import quality  # not at a cold start: few callers name it

    text = quality(accept, "text/plain", {"charset": "utf-8"})
    others = ("application/json", "text/event-stream")
    return text > max(quality(accept, kind, {"charset": "utf-8"}) for kind in others)


def _check_sources(request: ChatRequest) -> None:
    if request.sluice is not None and request.sluice.sources and _is_json(request):
        raise unsupported("sluice.sources", "the markers of sources would be arrays in JSON")


def _check_text(request: ChatRequest) -> None:
    where = "it has no place in a response of text/plain"
    if (request.n or 1) > 1:
        raise unsupported("n", "a response of text/plain is one text")
    for name in ("tools", "logprobs", "stream_options"):
        if getattr(request, name):
            raise unsupported(name, where)
    if request.sluice is not None and request.sluice.sources:
        raise unsupported("sluice.sources", where)
