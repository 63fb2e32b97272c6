"""llama.cpp in this process, through xllamacpp: the engine for CPUs and for the demo model.

It loads any GGUF model, split or not.

llama.cpp batches continuously over `parallel` slots. Each slot has its own context, so that answers
do not depend on their neighbours. A request is a blocking call in a thread, and llama.cpp passes
its chunks to a callback there.

- llama.cpp goes on sampling while a callback waits, up to the end of the answer: for a slow reader
  it holds at most one context of chunks, in addition to the bounded buffer here.
- A request ends early when its callback asks for that, which is at its next chunk: one token, or
  one batch of the prompt.
- With n choices llama.cpp counts the tokens of one only, so every choice is a separate call, and
  its counts are exact.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xllamacpp

from demo_model import SHA256, WEIGHTS
from demo_model.chat import TEMPLATE
from model import gguf
from model import weights as weights_of
from model.engines import chat_template, guided, prompt_bounds, reasoning
from model.engines.bridge import Bridge
from model.engines.llama_cpp_chunks import ChunkReader, error_of, guiding, request_bodies
from model.engines.llama_cpp_listener import ask_listener
from model.engines.steps import STALLED_SECONDS, SlowStepsError, Steps
from model.engines.trials import Trials
from model.errors import EngineError, InvalidRequestError, ModelError, StartError
from model.events import Event, Start, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from model.engines.trials import Tried
    from model.schema import ChatRequest
    from model.settings import Settings

# Events held for a reader: about a second of the demo model. A waiting callback costs only its
# thread.
BUFFERED_EVENTS = 256
_WATCH_SECONDS = STALLED_SECONDS / 4
_STEPS = 8  # tokens of the answer by which a step is measured
_PAIRS = 3  # pairs of messages that measure the template; they fit into the smallest context
_LOG_ERROR = re.compile(r"^\S+ E .*?: (.*)$", re.MULTILINE)


class LlamaCppEngine:
    """Implements `model.engines.base.Engine`."""

    def __init__(self, settings: Settings) -> None:
        self.active = 0
        self.steps = Steps()
        self.cache_usage = None
        self.vocabulary = 0
        self._up = False
        self._settings = settings
        self._server: Any = None
        self._threads = ThreadPoolExecutor(settings.parallel, "llama")
        self._bridges: set[Bridge] = set()
        self._watching: asyncio.Task[None] | None = None
        self._trials = Trials(settings.parallel)
        self._message_tokens = 1
        self._reasoning = reasoning.Ability()
        self._socket = self._secret = ""
        self._template: str | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="sluice-llama-"))

    @property
    def healthy(self) -> bool:
        """False while a step takes too long, before the start and after the end."""
        return self._up and not self.steps.stalled

    async def metrics(self) -> bytes:
        """Return llama.cpp's own metrics. llama.cpp answers between two steps."""
        text: str = await asyncio.to_thread(self._server.handle_metrics)
        return text.encode()

    async def start(self) -> None:
        """Load the one GGUF model in the settings' folder; measure its template and a step.

        Raises StartError.
        """
        weights, head = await asyncio.to_thread(self._found)
        await self._choose_template(weights, head)
        self._server = await asyncio.to_thread(self._load, weights)
        models = await self._listener("/v1/models")
        self.vocabulary = int(models["data"][0]["meta"]["n_vocab"])
        self._message_tokens = await asyncio.to_thread(self._measured_message)
        self.steps.measured(await asyncio.to_thread(self._measured_step))
        await self._trials.start()
        self._watching = asyncio.create_task(self._watch())
        self._up = True

    async def _choose_template(self, weights: Path, head: gguf.Head) -> None:
        """Try the chat template that the settings name, or else the model's own.

        Raises StartError if there is none, or if it does not work. Without one, llama.cpp would
        take a template that the model was not trained with, and no answer would end.
        """
        chosen = await asyncio.to_thread(self._settings.read_template)
        template = chosen or head.template
        if template is None:
            raise StartError(
                f"{weights}: {chat_template.MISSING}; set SLUICE_CHAT_TEMPLATE to the file of one, "
                "such as chat_template.jinja beside the weights"
            )
        self._template = chosen
        self._reasoning = reasoning.Ability(template)
        if template != TEMPLATE:
            try:
                await chat_template.check(template)
            except StartError as error:
                place = weights if chosen is None else self._settings.chat_template
                raise StartError(f"{place}: {error}") from None

    def _found(self) -> tuple[Path, gguf.Head]:
        """Return the model's first part and its metadata, after checks of the whole model.

        llama.cpp finds the other parts by the first one's name, which must be in its own form.
        """
        settings = self._settings
        folder = settings.model_dir
        model = weights_of.find_gguf(
            weights_of.files_in(folder),
            str(folder),
            settings.weights_file,
            lambda name: _kind(folder / name),
        )
        first = folder / model.parts[0]
        if (known := settings.weights_sha256 or _known(first)) is not None:
            if len(model.parts) > 1:
                raise StartError(
                    f"{first}: SLUICE_WEIGHTS_SHA256 is the checksum of one file, and the model has "
                    f"{len(model.parts)} parts; leave it out"
                )
            _check_sum(first, known)
        head = model.check(folder)
        if head.context is not None and settings.context_tokens > head.context:
            raise StartError(
                f"{first}: the model has a context of {head.context} tokens, and "
                f"SLUICE_CONTEXT_TOKENS is {settings.context_tokens}; set context_tokens to "
                f"{head.context} or less"
            )
        if len(model.parts) == 1:
            return first, head
        for number, name in enumerate(model.parts, start=1):
            link = self._folder / f"model-{number:05}-of-{len(model.parts):05}.gguf"
            link.symlink_to((folder / name).absolute())
        return self._folder / f"model-00001-of-{len(model.parts):05}.gguf", head

    async def _watch(self) -> None:
        """Ask llama.cpp at intervals whether steps end: not every step makes a chunk."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self.active:
                with contextlib.suppress(RuntimeError):  # no answer: the chunks decide
                    await self.metrics()
                    self.steps.answered()

    def _load(self, weights: Path) -> Any:
        try:
            server = xllamacpp.Server(self._params(weights))
        except RuntimeError:
            server = self._load_and_log(weights)
        # A server that never served a request hangs when it is destroyed.
        request = {"messages": [{"role": "user", "content": "."}], "max_tokens": 1}
        try:
            server.handle_chat_completions(json.dumps(request), lambda chunk: False)
        except (ValueError, RuntimeError) as error:
            reason = chat_template.sentence(str(error)) or error
            raise StartError(f"{weights}: the first request failed: {reason}") from None
        return server

    def _measured_message(self) -> int:
        """Return how many tokens the template adds to each message's content; at least 1."""

        def prompt_tokens(pairs: int) -> int:
            turns = [
                {"role": "user", "content": "."},
                {"role": "assistant", "content": "."},
            ] * pairs
            request = {
                "messages": [*turns, {"role": "user", "content": "."}],
                "stream": True,
                "return_progress": True,
            }
            chunks: list[dict[str, Any]] = []

            def first(chunk: str) -> bool:
                chunks.append(json.loads(chunk))
                return True

            self._server.handle_chat_completions(json.dumps({**request, "max_tokens": 1}), first)
            return (
                int(chunks[0]["prompt_progress"]["total"]) if "prompt_progress" in chunks[0] else 0
            )

        try:
            few, many = prompt_tokens(0), prompt_tokens(_PAIRS)
        except (ValueError, RuntimeError):  # the template does not accept such a conversation
            return 1
        return max(1, (many - few) // (2 * _PAIRS) - 1)

    def _measured_step(self) -> float:
        """Return the seconds of one step while nothing else runs."""
        milliseconds = [0.0]

        def receive(chunk: str) -> bool:
            if (timings := json.loads(chunk).get("timings")) is not None and timings[
                "predicted_n"
            ] > 1:
                milliseconds[0] = timings["predicted_ms"] / timings["predicted_n"]
            return False

        request = {
            "messages": [{"role": "user", "content": "."}],
            "stream": True,
            "timings_per_token": True,
        }
        self._server.handle_chat_completions(json.dumps({**request, "max_tokens": _STEPS}), receive)
        return milliseconds[0] / 1000

    def _params(self, weights: Path) -> Any:
        settings = self._settings
        params = xllamacpp.CommonParams()
        params.model.path = str(weights)
        if self._template is not None:
            params.chat_template = self._template
        params.n_parallel = settings.parallel
        # llama.cpp divides the context among the slots.
        params.n_ctx = settings.parallel * settings.context_tokens
        params.kv_unified = False
        params.cpuparams.n_threads = settings.engine_threads
        params.cpuparams_batch.n_threads = settings.engine_threads
        params.fit_params = False  # weights that do not fit fail, and are not silently reduced
        params.cache_ram_mib = 0  # without this it would keep up to 8 GiB of old prompts
        params.verbosity = -1  # its log may quote prompts
        # llama.cpp always opens a listener. Other processes cannot reach this one.
        self._socket = str(self._folder / f"{secrets.token_hex(4)}.sock")
        self._secret = secrets.token_hex(16)
        params.hostnames = [self._socket]
        params.api_keys = [self._secret]
        params.prefill_assistant = False  # a request says so: see `request_body`
        params.ui = False
        params.n_threads_http = 1
        params.endpoint_metrics = True
        return params

    def _load_and_log(self, weights: Path) -> Any:
        """Load once more, because llama.cpp reports the reason of a failure only in its log.

        Raises StartError with that reason.
        """
        params = self._params(weights)
        params.verbosity = 1
        with _captured_stderr(self._folder / "log") as log:
            try:
                return xllamacpp.Server(params)
            except RuntimeError:
                time.sleep(0.2)  # a thread that cannot be joined writes the log
        found = _LOG_ERROR.search(log.read_text(errors="replace"))
        raise StartError(f"{weights}: {found.group(1) if found else 'llama.cpp cannot load it'}")

    async def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return the tokens of a text. llama.cpp's listener has the tokenizer, the binding not."""
        asked = {"content": text, "add_special": special}
        return list((await self._listener("/tokenize", asked))["tokens"])

    async def detokenize(self, tokens: list[int]) -> str:
        """Return the text of tokens."""
        if tokens and max(tokens) >= self.vocabulary:
            raise InvalidRequestError("tokens: there is no such token", "tokens")
        return str((await self._listener("/detokenize", {"tokens": tokens}))["content"])

    async def _listener(self, path: str, asked: Any = None) -> dict[str, Any]:
        return await asyncio.to_thread(ask_listener, self._socket, self._secret, path, asked)

    async def generate(self, request: ChatRequest) -> AsyncGenerator[list[Event], None]:
        """Yield the events of all choices, as they come."""
        bodies, tried = await self._checked(request)
        bridge = Bridge(request.n, BUFFERED_EVENTS)
        self._bridges.add(bridge)
        self.active += 1
        loop = asyncio.get_running_loop()
        calls = [
            loop.run_in_executor(self._threads, self._call, body, bridge, reader, tried)
            for choice, body in enumerate(bodies)
            for reader in [_reader(request, choice, body)]
        ]
        # The request counts until llama.cpp has released it, which may be after the reader has
        # left.
        asyncio.gather(*calls, return_exceptions=True).add_done_callback(
            lambda _: self._ended(bridge)
        )
        prompt_tokens: int | None = None
        completion_tokens = 0
        try:
            while events := await bridge.take():
                batch: list[Event] = []
                for event in events:
                    if isinstance(event, Usage):
                        completion_tokens += event.completion_tokens
                    elif not isinstance(event, Start):
                        batch.append(event)
                    elif prompt_tokens is None:  # every choice counts the same prompt
                        prompt_tokens = event.prompt_tokens
                        batch.append(event)
                if batch:
                    yield batch
            yield [Usage(prompt_tokens or 0, completion_tokens)]
        except SlowStepsError:
            if tried is not None:
                self._trials.refuse(tried, request.sluice.caller)
            raise
        finally:
            bridge.close()

    async def _checked(self, request: ChatRequest) -> tuple[list[dict[str, Any]], Tried | None]:
        """Check the request. Return a body for each choice, and the trial of their grammar, if any.

        Raises the errors of the checks and of `Trials.check`.
        """
        form = request.response_format or request.structured_outputs
        if request.visible_tools or form is not None:
            self._trials.check_turn(request.sluice.caller)
        prompt_bounds.check(request, self._settings.context_tokens, self._message_tokens)
        self._reasoning.check(request, guided=guided.schema_of(request) is not None)
        bodies = request_bodies(request)
        if (tried := guiding(bodies[0])) is not None:
            param = "tools" if request.visible_tools else "response_format"
            if request.structured_outputs is not None:
                param = "structured_outputs"
            return bodies, await self._trials.check(tried, param, request.sluice.caller, request.n)
        return bodies, None

    def _ended(self, bridge: Bridge) -> None:
        self._bridges.discard(bridge)
        self.active -= 1

    def _call(
        self, body: dict[str, Any], bridge: Bridge, reader: ChunkReader, tried: Tried | None
    ) -> None:
        """Generate one choice, in a thread, from its first chunk to its last."""
        failures: list[ModelError] = []
        sampling = (
            self.steps.begin() if tried is None else self.steps.begin(tried.digest, tried.step)
        )

        def receive(chunk: str) -> bool:
            # The result says whether llama.cpp stops. No exception may pass through llama.cpp.
            try:
                read = json.loads(chunk)
                if (timings := read.get("timings")) is not None and timings["predicted_n"] > 0:
                    self.steps.chunk(sampling, timings["predicted_n"], timings["predicted_ms"])
                events = reader.events(read)
                if not events:
                    return bridge.closed
                with self.steps.held(sampling):
                    return not bridge.put(events)
            except ModelError as error:
                failures.append(error)
            except Exception as error:  # noqa: BLE001 - the request's reader gets every failure
                failures.append(
                    EngineError(f"llama.cpp sent a malformed chunk ({type(error).__name__})")
                )
            return True

        try:
            if not bridge.closed:
                self._server.handle_chat_completions(json.dumps(body), receive)
                if not (reader.whole or failures):
                    failures.append(EngineError("llama.cpp ended the answer early"))
        except Exception as error:  # noqa: BLE001 - mapped: this is the boundary to the binding
            failures.append(error_of(error))
        self.steps.end(sampling)
        bridge.end(failures[0] if failures else None)

    async def close(self) -> None:
        """Stop running requests, then the server."""
        self._up = False
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        await self._trials.close()
        for bridge in list(self._bridges):
            bridge.close()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._destroy)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _destroy(self) -> None:
        self._server = None  # dropping the last reference waits for llama.cpp's loop to end


def _reader(request: ChatRequest, choice: int, body: dict[str, Any]) -> ChunkReader:
    form = request.structured_outputs
    return ChunkReader(
        choice,
        request.top_logprobs or 0,
        must_call=request.must_call,
        guided=form is None and "grammar" in body,
        choices=form.choice if form is not None else None,
        stops=bool(request.stops),
    )


def _kind(path: Path) -> str:
    """Return the kind of a GGUF file. A file that cannot be read counts as a model."""
    try:
        return gguf.read_head(path).kind
    except (OSError, ValueError):
        return "model"


def _known(weights: Path) -> str | None:
    """Return the demo model's checksum if the file has the demo model's name, else None."""
    return SHA256 if weights.name == WEIGHTS.name else None


def _check_sum(weights: Path, expected: str) -> None:
    try:
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StartError(f"{weights}: {error.strerror}") from None
    if found != expected:
        raise StartError(
            f"{weights}: its SHA-256 is {found}, {expected} is expected: fetch the file "
            "again, or set "
            "SLUICE_WEIGHTS_SHA256 to the new one"
        )


@contextlib.contextmanager
def _captured_stderr(path: Path) -> Iterator[Path]:
    """Redirect what the process writes to file descriptor 2 to `path`."""
    kept = os.dup(2)
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    os.dup2(file, 2)
    try:
        yield path
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(file)
