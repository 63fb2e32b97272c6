"""Who may call: authentication by a read, and the count of requests.

Every call reads the account, and no environment remembers a key. So a key that was disabled, has
expired or was replaced reads nothing from then on.
"""

import time
from collections.abc import Mapping

from lambda_fn.auth import Caller, read_key
from lambda_fn.aws.dynamodb import Table
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.rate_limit_errors import rate_headers
from lambda_fn.stream.request_count import count_request


class Access:
    """Authenticates and counts the calls of the recall function."""

    def __init__(self, table: Table) -> None:
        """Take the usage table."""
        self._table = table
        self._gate = Gate(table)

    async def admit(
        self, headers: Mapping[str, str], client: tuple[str, int] | None
    ) -> tuple[Caller, dict[str, str]]:
        """Return the caller, and the headers about its limits.

        Raises:
            AuthenticationFailed, PermissionDenied: the key may not be used.
            RateLimited: the key has made all its requests of this minute.
            Unavailable: DynamoDB does not answer.

        """
        caller = read_key(headers, client)
        account = await self._gate.check_key(caller)
        now = time.time()
        return caller, rate_headers(
            await count_request(self._table, account, now), when=now, now=now
        )
