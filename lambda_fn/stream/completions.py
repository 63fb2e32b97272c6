"""The endpoints of completions: they read a request, choose its model, and run the pipeline."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from lambda_fn import dialects, limits
from lambda_fn.dialects import Dialect
from lambda_fn.errors import APIError, BodyTooLarge, InvalidRequest
from lambda_fn.ids import new_request_id
from lambda_fn.log import log
from lambda_fn.schema.messages import has_images
from lambda_fn.settings import Model
from lambda_fn.stream.carrier import AsgiCarrier, Carrier
from lambda_fn.stream.negotiate import Continued, ReadRequest
from lambda_fn.stream.pipeline import Accepted, NoCapacity, Pipeline, Shared

if TYPE_CHECKING:
    from lambda_fn.stream.images import Image
    from lambda_fn.stream.queueing import Process
    from lambda_fn.stream.repeats import Repeats


class Completions:
    """The endpoint `POST /v1/chat/completions`, or of another form of responses.

    All have the same stages. `read` parses the request and determines the form of the response.
    """

    def __init__(
        self, shared: Shared, read: Callable[[bytes, Mapping[str, str]], ReadRequest | Continued]
    ) -> None:
        """Take the objects that all requests share."""
        self._shared = shared
        self._settings = settings = shared.settings
        self._gate = shared.gate
        self._read = read
        self._dialects = {
            model.dialect: dialects.find(model.dialect) for model in settings.models.values()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request. Raises as `answer`."""
        await self.answer(AsgiCarrier(scope, receive, send))

    async def answer(self, carrier: Carrier) -> None:
        """Answer one request, whatever carries it, and settle it.

        The settlement of a logged response may still run in the background.

        Raises:
            APIError: it failed, and its response has not begun.
            ResponseBroken: it failed later, and its form cannot say so.
            Exception: what the sink raises when the client has left.

        """
        await self._gate.authenticate(carrier.caller)
        accepted = await self.accept(carrier)
        if not self._is_logged(accepted.read, carrier.headers):
            if accepted.read.background:
                from lambda_fn.stream.queueing import ask  # not at a cold start

                await ask(self._shared, carrier, accepted, self)
            else:
                await self._generate(carrier, accepted)
            return
        from lambda_fn.stream.keeping import answer_logged  # not at a cold start

        await answer_logged(
            self._shared,
            carrier,
            accepted,
            lambda repeats: self._generate(carrier, accepted, repeats),
        )

    async def run_queued(self, response_id: str, process: "Process") -> None:
        """Run a queued response, if it is this call's turn. It raises nothing."""
        from lambda_fn.stream.queueing import run  # not at a cold start

        if self._shared.streams is not None:
            await run(self._shared, self, response_id, process)

    async def _generate(
        self, carrier: Carrier, accepted: Accepted, repeats: "Repeats | None" = None
    ) -> None:
        """Generate the response to a request. It is logged if it has `repeats`.

        Raises:
            APIError: see `_fall_back`.
            Attached: another request has the response already.

        """
        if accepted.read.background:
            await self._generate_in_background(carrier, accepted, repeats)
            return
        try:
            await Pipeline(self._shared, carrier, accepted, repeats).run()
        except NoCapacity as found:
            await self._fall_back(carrier, accepted, repeats, found.error)

    async def _generate_in_background(
        self, carrier: Carrier, accepted: Accepted, repeats: "Repeats | None"
    ) -> None:
        """Generate a background response that is logged. It has no fallback: without capacity it
        waits. Raises as `_generate`, and as `hold_on`.
        """
        from lambda_fn.stream.queueing import hold, hold_on  # not at a cold start

        place = await hold(self._shared, carrier, accepted)
        pipeline = Pipeline(self._shared, carrier, accepted, repeats, place=place)
        try:
            await pipeline.run()
            if pipeline.found_no_room is not None and not pipeline.waits:
                raise pipeline.found_no_room
        except NoCapacity as found:
            await place.release()
            raise found.error from None
        except APIError:
            await place.release()
            raise
        if pipeline.found_no_room is not None:
            await hold_on(self._shared, carrier, carrier.request_id)

    async def _fall_back(
        self, carrier: Carrier, accepted: Accepted, repeats: "Repeats | None", error: APIError
    ) -> None:
        """Serve a request by the fallbacks of its model, one after another.

        Each has a request id and a ledger item of its own, so it is metered as the model that it
        is. If none can answer, the client gets the error of the first model. If one does, what is
        kept of the attempts before it is deleted, because clients know the last one only.

        Raises:
            APIError: see above, or the fallback failed while it answered.

        """
        name = accepted.read.request.model
        tried, attempts = {name}, list[str]()
        is_kept = repeats is not None or accepted.read.kept_items is not None
        while (following := self._settings.fallbacks.get(name)) not in {None, *tried}:
            tried.add(name)
            log("fallback", request_id=carrier.request_id, model=name, fallback=following)
            name = str(following)
            attempts.append(carrier.request_id)
            carrier.request_id = new_request_id()
            is_last = False
            try:
                other = self._for_model(accepted.asked, accepted.body, name)
                if other is None:
                    break
                is_last = is_kept
                await Pipeline(self._shared, carrier, other, repeats).run()
            except NoCapacity:
                is_last = False
                continue
            except APIError as failure:
                if failure.status < 500:  # the key may not use it, or it cannot do this request
                    is_last = False
                    break
                raise
            finally:
                if is_last:
                    from lambda_fn.stream import keeping

                    carrier.in_background(keeping.hide_all(self._shared, attempts))
            return
        raise error

    async def accept(self, carrier: Carrier) -> Accepted:
        """Read and parse the request's body, and find its model.

        Raises:
            APIError: the request cannot be answered. If the key has been revoked since it was last
                seen here, the error says only that.

        """
        try:
            _check_key(carrier.headers)
            body = await carrier.body(self._settings.max_body)
            found = self._read(body, carrier.headers)
            if isinstance(found, ReadRequest):
                read = found
            else:
                from lambda_fn.stream.history import history_of  # not at a cold start

                history = await history_of(
                    self._shared.streams,
                    carrier.caller.key_id,
                    found,
                    secrets=self._settings.origin_secrets,
                    days=self._settings.response_days,
                )
                read = found.read(history)
            self._check_kept(read)
            extensions = read.request.sluice
            if read.request.moderation is not None or (
                extensions is not None and extensions.moderate is not None
            ):
                from lambda_fn.stream.moderate import check_moderated  # rarely asked for

                check_moderated(self._settings.moderation, read.request)
            name = self._settings.name_of(read.request.model)
            try:
                accepted = self._for_model(read, body, name)
            except APIError as error:
                read.restate(error)
                raise
            if accepted is None:
                raise await self._gate.no_model(carrier.caller, name, self._settings.unreadable)
        except APIError:
            await self._gate.check_key(carrier.caller)
            raise
        return accepted

    @property
    def _keeps_logs(self) -> bool:
        return self._shared.streams is not None and self._settings.persistence != "off"

    def _is_logged(self, read: ReadRequest, headers: Mapping[str, str]) -> bool:
        """Return whether the response to a request is logged."""
        if not self._keeps_logs or read.durable is False:
            return False
        extensions = read.request.sluice
        return (
            bool(read.durable)
            or (extensions is not None and extensions.cache is not None)
            or read.on_cut == "continue"
            or "idempotency-key" in headers
            or (
                self._settings.persistence == "all"
                and not (read.background and not read.request.stream)
            )
        )

    def _check_kept(self, read: ReadRequest) -> None:
        """Check what a request asks to be kept. Raises InvalidRequest."""
        extensions = read.request.sluice
        cached = extensions is not None and extensions.cache is not None
        if cached and read.durable is False:
            raise InvalidRequest(
                "'sluice.cache' keeps the response, and 'sluice.durable' is false. Send one of "
                "them.",
                param="sluice.cache",
            )
        if cached and read.conversation is not None:
            raise InvalidRequest(
                "'sluice.cache' compares requests, and the items of a 'conversation' change between "
                "them. Send one of them.",
                param="sluice.cache",
            )
        if (read.durable or cached) and not self._keeps_logs:
            name = "sluice.durable" if read.durable else "sluice.cache"
            raise InvalidRequest(
                "This deployment keeps no responses: its setting 'persistence' is 'off'. Send "
                f"the request without '{name}'.",
                param=name,
            )

    def _for_model(self, asked: ReadRequest, body: bytes, name: str) -> Accepted | None:
        """Return a request as the model of this name gets it, or None if there is none.

        Raises:
            InvalidRequest: the request asks for what the model's server cannot do.
            BodyTooLarge: the body is larger than this model's may be.

        """
        model = self._settings.models.get(name)
        if model is None:
            return None
        size = len(body) + asked.history_size
        if size > model.max_body:
            what = "conversation" if asked.history_size else "body"
            raise BodyTooLarge(f"The {what} is over {model.max_body} bytes. Send a smaller one.")
        dialect = self._dialects[model.dialect]
        read = asked.named(name).served_by(model, dialect)
        dialect.check(read.request)
        continues = self._continues(read, dialect)
        images, size = _images(read, model, size)
        return Accepted(asked, read, body, model, dialect, size, images, continues)

    def _continues(self, read: ReadRequest, dialect: Dialect) -> bool:
        """Return whether a response goes on if its container ends before it.

        If the request asks for it, it must be possible. The setting applies where it is possible.

        Raises:
            InvalidRequest: the request asks for it, and its response could not go on.

        """
        if (read.on_cut or self._settings.on_cut) != "continue":
            return False
        from lambda_fn.stream import failover  # rarely asked for

        if read.on_cut is None:
            return failover.obstacle(read.request, dialect) is None
        failover.check(read.request, dialect)
        return True


def _check_key(headers: Mapping[str, str]) -> None:
    """Check the `Idempotency-Key` of a request that has one. Raises InvalidRequest.

    A blank one is not ignored: its caller believes that a retry would not be billed again.
    """
    key = headers.get("idempotency-key")
    if key is None:
        return
    why = ""
    if not key.strip():
        why = "it is blank"
    elif len(key) > limits.MAX_IDEMPOTENCY_KEY:
        why = f"it has more than {limits.MAX_IDEMPOTENCY_KEY} characters"
    elif min(key) < " " or "\x7f" in key:
        why = "it has control characters"
    if why:
        raise InvalidRequest(
            f"Invalid header 'Idempotency-Key': {why}. Send another key, such as a UUID, or none.",
            code="invalid_idempotency_key",
        )


def _images(read: ReadRequest, model: Model, size: int) -> "tuple[Sequence[Image], int]":
    """Return a request's images, checked, and the size of its body without them."""
    if not has_images(read.request.messages):
        return (), size
    from lambda_fn.stream.images import images_of, text_size  # not at a cold start

    images = images_of(read.request, model, read.images)
    return images, text_size(size, images)
