"""Cancels a running response: by a conditional write, and then by a call of its container.

A response that is logged is cancelled by the write of its head. One that is not is cancelled by its
producer: the write sets a flag on its ledger item, which the producer reads with its next
checkpoint. This project's container takes the call from any function. The response then ends at
once.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial

from starlette.types import Scope

from lambda_fn import dialects, limits
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.errors import Unavailable
from lambda_fn.http.client import Client
from lambda_fn.metering import ledger
from lambda_fn.metering.keys import ledger_key
from lambda_fn.recall.stored import Stored, id_of, not_found, public_error
from lambda_fn.settings import Settings
from lambda_fn.stream.cancel import cancel
from lambda_fn.stream.carrier import in_background
from lambda_fn.stream.endings import tell_end
from lambda_fn.stream.invoke import Invocation
from lambda_fn.stream_log import places
from lambda_fn.stream_log.bodies import Incomplete
from lambda_fn.stream_log.heads import StoredHead, cancel_head, end_segment, new_name
from lambda_fn.stream_log.keys import UnknownVersion


class Cancelling:
    """Cancels responses of any kind."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        credentials: Callable[[], Credentials],
        usage: Table,
        stored: Stored,
    ) -> None:
        """Take the objects that all requests share."""
        self._settings = settings
        self._client = client
        self._credentials = credentials
        self._usage = usage
        self._stored = stored

    async def cancel(
        self, public_id: str, key_id: str, scope: Scope, *, forms: Sequence[str] = ()
    ) -> StoredHead | Item:
        """Cancel a response of a key if it runs.

        Returns:
            Its head as it stands, or its ledger item if it is not logged.

        Raises:
            NotFound: the key has no such response, or its log has none of the `forms`, if there are
                some.
            Unavailable: DynamoDB does not answer; the response may have been cancelled.

        """
        head = await self._stored.look(public_id, key_id)
        if head is None:
            return await self._cancel_unlogged(public_id, key_id, scope)
        if forms and head.head.form not in forms:
            raise not_found(public_id)
        if not head.is_final:
            return await self._cancel_logged(head, scope)
        if head.status == "cancelled" and time.time() - (head.ended or 0) < limits.LEASE:
            # The call that cancelled it may have been cut before it reached the container.
            self._free(scope, head)
        return head

    async def billed(self, head: StoredHead) -> tuple[int, int] | None:
        """Return what a response that somebody else ended was billed for, by its ledger item.

        The head has the tokens of its last segment only, because whoever ended it did not know
        what its producer had sampled until then.

        Returns:
            The tokens of the prompt and of the answer; 0 and 0 while a cancelled request is not
            settled, because the head's are those of its last lease. None if the head has them, if
            the ledger has no such item, or if the meter does not answer.

        """
        if head.status not in {"cancelled", "failed"}:
            return None
        with contextlib.suppress(MeterUnavailable):
            item = await self._usage.get(ledger_key(head.run_id))
            if item is None or item["key"] != head.owner:
                return None
            if item["state"] == "SETTLED":
                return item.get("prompt_tokens", 0), item.get("completion_tokens", 0)
            if head.status == "cancelled":
                return 0, 0
        return None

    async def _cancel_logged(self, head: StoredHead, scope: Scope) -> StoredHead:
        table, by, name = self._stored.table, new_name(), head.response_id
        try:
            ended = await cancel_head(table, name, now=time.time(), by=by)
            if ended is None:
                raise not_found(name)
            if ended.ended_by != by:
                return ended
            # The producer sees the head within `LOG_WATCH`, or at once by its broken stream.
            if head.status != "queued" or ended.run is not None:
                self._free(scope, ended)
            if ended.starter is not None:
                in_background(scope, self._end(ended))
            if ended.kept == "segments":
                await end_segment(table, ended)
        except (MeterUnavailable, UnknownVersion, Incomplete) as error:
            raise public_error(error, name) from None
        return ended

    async def _cancel_unlogged(self, public_id: str, key_id: str, scope: Scope) -> Item:
        name = id_of(public_id)
        if name is None or await self._stored.has(name):
            raise not_found(public_id)
        try:
            item = await self._usage.get(ledger_key(name))
            if item is None or item["key"] != key_id:
                raise not_found(public_id)
            if item["state"] != "OPEN":
                return item
            asked = ledger.cancel(name, key_id=key_id, now=time.time())
            try:
                await self._usage.update(asked)
            except ConditionFailed as failed:
                if failed.item is None:
                    raise not_found(public_id) from None
                return failed.item  # it has ended meanwhile
        except MeterUnavailable:
            raise Unavailable(
                "The usage meter does not answer, so it is not known whether the response was "
                "cancelled. Try again.",
                retry_after=5,
            ) from None
        model = self._settings.models.get(item["model"])
        if model is not None:
            self._call(scope, name, model.dialect, model.endpoint, model.component)
        return {**item, "cancel": asked.values[":now"]}

    async def _end(self, head: StoredHead) -> None:
        """Free the place of a queued response. If that fails, the keeper does it."""
        about = (head.response_id, head.owner)
        if await tell_end(self._settings, self._client, self._credentials, *about):
            return
        with contextlib.suppress(MeterUnavailable):
            await places.release(self._stored.table, head.owner, head.response_id)

    def _free(self, scope: Scope, head: StoredHead) -> None:
        self._call(scope, head.run_id, head.dialect, head.endpoint, head.component)

    def _call(
        self, scope: Scope, name: str, dialect_name: str, endpoint: str, component: str | None
    ) -> None:
        """Begin to cancel a request in its container, if that knows how to."""
        dialect = dialects.find(dialect_name)
        body = dialect.cancel(name)
        if body is None:
            return
        invoke = partial(
            Invocation,
            self._client,
            url=self._settings.sagemaker_url,
            region=self._settings.region,
            credentials=self._credentials(),
            endpoint=endpoint,
            component=component,
            request_id=name,
            body=body,
            refusal=dialect.rejection,
        )
        in_background(scope, cancel(invoke, name))
