"""The only place for keys, attributes, indexes and versions of the items in the usage table.

    pk                      sk                                  item
    KEY#<key id>            ACCOUNT                             `ACCOUNT`: an API key
    LEDGER#<hour>#<shard>   <request id>                        `LEDGER`: a request
    USAGE#<day>             <key id>#<HH>#<model>               `ROLLUP`: an hour of key and model
    USAGE                   ROLLED                              `WATERMARK`: hours that have rollups
    USAGE                   DIRTY#<hour>                        `DIRTY_HOUR`: its rollups are stale
    USAGE                   SENT                                `SENT`: hours sent to CloudWatch
    CONTROL                 PAGES                               `PAGES`: the secret of page tokens
    SERVICE                 STATE                               `SERVICE`: whether it is stopped
    SERVICE                 MONTH#<month>                       `MONTH`: what a month has cost
    ALERTS                  <month>#<key id>#<budget>#...       `ALERT`: a budget's level is reached
    AUDIT#<day>             <request id>#asked, #done           `AUDIT`: a change (`control.trail`)
                            <minute>#refused#<actor>#<code>     `AUDIT`: rejected callers

Hours and days are UTC: `2026-11-21T06`, `2026-11-21`. IAM grants each role its partitions by these
prefixes (`infra/stacks/service.py`, `infra/constructs/admin_functions.py`).

**Versions.** Each item is put with `v`, the version of its layout. An item without `v` was put
before versions existed: it is read as version 0, whose layout is that of version 1. The name has
one letter because the size of an item determines the cost of its writes. Name and number take 3
bytes.

**Migrating.** A new attribute, or a new last element of a `Hold`, needs no new version if older
code may ignore it. Any other change of an item (a renamed or removed attribute, another unit, type,
key or meaning) takes a new version, in two deployments:

1. The first one reads both layouts and raises `READABLE` by one. It still writes the old layout.
2. The second one writes the new layout and raises `VERSION` by one.

So environments of both kinds can run side by side, and a deployment can be rolled back by one.

Accounts, rollups, the watermark and ledger items that are recovered, replayed or summed raise
`UnknownVersion` where they are read if this code does not know their version. All other readers
take the few attributes that they need and do not check. So the check does not stand in for the
first deployment.

- An update whose expression depends on the layout has a condition on `v`. Any other update leaves
  `v` as it is.
- Ledger items and the audit trail are never converted, so their old layouts stay readable.
- Rollups are made again from the ledger (`rollups.rebuild`).
- Accounts are converted by the next update of a request or an admin, or in one pass over the index
  `keys`. Only after such a pass may the code that reads the old layout be removed.
"""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lambda_fn.ids import LEDGER_SHARDS, request_time, shard_of

VERSION = 1
"""The version of the layouts that this code writes."""
READABLE = 1
"""The latest version that this code reads."""
VERSIONED = {"v": VERSION}
"""The attribute `v` that every new item gets."""

_LIMITS = "requests_minute tokens_minute max_streams tokens_day tokens_month cost_day cost_month"
_COUNTS = "requests prompt_tokens completion_tokens cost"
_AMOUNTS = dict.fromkeys(_COUNTS.split(), "of settled requests")
_KEYS = {"pk": "partition key", "sk": "sort key", "v": "version of the layout"}
_WATCHED = {
    "open": "LEDGER#<shard>, ACCOUNT#<shard> or ALERT: only while the sweeper has to watch the item",
    "due": "Unix seconds after which the sweeper looks",
}
ACCOUNT = {
    **_KEYS,
    **_WATCHED,
    **_AMOUNTS,
    **dict.fromkeys(_LIMITS.split(), "a limit; always there"),
    "name": "what reports call the key",
    "owner": "",
    "created": "Unix seconds",
    "last_used": "Unix seconds",
    "enabled": "",
    "expires": "Unix seconds, when there is an end",
    "secret_hash": "hex SHA-256 of the key; empty once it was revoked or deleted",
    "old_secrets": "hash of an older secret -> Unix seconds until which it is valid",
    "revoked": "Unix seconds at which all secrets were removed, until a rotation",
    "revision": "number of changes that admins made",
    "models": "public names that the key may use; absent when it may use all",
    "networks": "CIDRs that the key may be used from, as one text; absent when from anywhere",
    "redact": "kinds that are replaced in answers to the key; absent when none are",
    "moderate": "block, if moderation blocks the key's prompts and answers although moderate_mode is score",
    "directory": "KEYS: the partition of the index `keys`",
    "balance": "window name -> what remains of its limit; made by the first request of a window",
    "in_flight": "request id -> `Hold`, as text: small, since each write costs the whole item",
    "deleted": "Unix seconds; a deleted key keeps its item, without secrets",
    "deletion": "token of the call that deleted it",
}
LEDGER = {
    **_KEYS,
    **_WATCHED,
    "state": "OPEN | SETTLED",
    "key": "the key's id",
    "model": "the public name",
    "reserved": "tokens that its admission reserved; extensions are only in its hold",
    "reserved_cost": "the same in nano-USD",
    "prompt_price": "nano-USD a token, as of the admission: its settlement uses these",
    "completion_price": "",
    "cached_price": "of the prompt's tokens that the server had cached; absent if the same",
    "image_price": "of the prompt's tokens that images may have; absent if the same",
    "reasoning_price": "of the completion's tokens that are reasoning; absent if the same",
    "opened": "Unix seconds, with milliseconds",
    "prompt_tokens": "of the last checkpoint while OPEN, final once SETTLED",
    "completion_tokens": "",
    "continued_prompt_tokens": "those of `prompt_tokens` that were read to continue the response after "
    "its container had ended; absent without",
    "cached_tokens": "those of `prompt_tokens` that the server had cached; absent without",
    "image_tokens": "those of `prompt_tokens` that images may have at most; absent without",
    "reasoning_tokens": "those of `completion_tokens` that are reasoning; absent without",
    "checkpointed": "Unix seconds of the last checkpoint; removed by the settlement",
    "cancel": "Unix seconds at which its end was requested; removed by the settlement",
    "settled": "Unix seconds",
    "outcome": "complete | cut | failed | cancelled | refused",
    "finish_reason": "",
    "cost": "nano-USD",
    "ttft_ms": "",
    "duration_ms": "",
    "entry": "attempt number of the hold that it was settled for; absent when nothing was held",
    "recovered": "true when the sweeper settled it: a truer settlement may still replace that",
}
ROLLUP = {
    **_KEYS,
    **_AMOUNTS,
    "recovered": "requests that the sweeper settled",
    "outcomes": "outcome -> requests",
}
WATERMARK = {
    **_KEYS,
    "since": "the first hour with rollups",
    "until": "the first hour after it without",
}
SENT = {**_KEYS, "until": "the first hour whose figures of keys were not sent"}
DIRTY_HOUR = {**_KEYS, "mark": "random: tells this mark from a later one"}
PAGES = {**_KEYS, "secret": "hex"}
ALERT = {
    **_KEYS,
    **_WATCHED,
    "key": "the key's id, or `deployment`",
    "spent": "nano-USD or tokens, as the alert was made",
    "name": "what reports call the key",
    "owner": "",
    "sent": "Unix seconds at which the sweeper had sent it; it has no `open` from then on",
    "ttl": "Unix seconds after which DynamoDB removes the item",
}
MONTH = {
    **_KEYS,
    "until": "the first hour whose rollups are not in `cost`",
    "cost": "nano-USD of the month's hours before",
    "ttl": "Unix seconds after which DynamoDB removes the item",
}
SERVICE = {
    **_KEYS,
    "exhausted": "the month whose ceiling was reached: its requests are refused; absent before",
    "stopped": "Unix seconds since which requests are refused; absent while they are served",
    "reason": "what refused requests are told",
}
AUDIT = {
    **_KEYS,
    "ttl": "Unix seconds after which DynamoDB removes the item",
    "at": "Unix seconds",
    "action": "the operation, as the OpenAPI document calls it",
    "key": "the key's id",
    "actor": "",
    "address": "",
    "invocation": "Lambda's id of the invocation",
    "asked": "the fields of the request",
    "outcome": "done | refused | unknown",
    "code": "of the error",
    "before": "the fields that changed, as they were",
    "after": "",
    "request": "id of the refused request",
    "attempts": "refused requests of this actor and code since the entry before",
}

KEYS_INDEX = "keys"
"""The index of all accounts, in the order of `created`. `directory` is always `DIRECTORY`."""
KEYS_INDEX_KEY = ("pk", "sk", "directory", "created")
DIRECTORY = "KEYS"
OVERDUE_INDEX = "overdue"
"""The sparse index of the items that the sweeper watches, by `open` and `due`."""
WATERMARK_KEY = {"pk": "USAGE", "sk": "ROLLED"}
SENT_KEY = {"pk": "USAGE", "sk": "SENT"}
DIRTY_PARTITION, DIRTY_PREFIX = "USAGE", "DIRTY#"
PAGES_KEY = {"pk": "CONTROL", "sk": "PAGES"}
SERVICE_KEY = {"pk": "SERVICE", "sk": "STATE"}
ALERT_PARTITION, ALERT_OPEN = "ALERTS", "ALERT"
"""The partition of all alerts, and the value of `open` while they are not sent."""


class UnknownVersion(ValueError):
    """A later deployment wrote the item, and this code cannot read it."""


def check_version(item: Mapping[str, Any]) -> None:
    """Raise UnknownVersion if this code cannot read an item; without `v` its version is 0."""
    version = item.get("v", 0)
    if version > READABLE:
        where = f"{item.get('pk')} {item.get('sk')}"
        text = f"{where} has version {version}, and this code reads up to {READABLE}."
        raise UnknownVersion(f"{text} Deploy the later code.")


def account_key(key_id: str) -> dict[str, str]:
    """Return the primary key of a key's account item."""
    return {"pk": f"KEY#{key_id}", "sk": "ACCOUNT"}


def account_id(partition: str) -> str:
    """Return the key id of an account item's partition."""
    return partition.removeprefix("KEY#")


def ledger_key(request_id: str) -> dict[str, str]:
    """Return the primary key of a request's ledger item."""
    return {"pk": f"LEDGER#{request_hour(request_id)}#{shard_of(request_id)}", "sk": request_id}


def ledger_partitions(hour: str) -> list[str]:
    """Return the partitions of the ledger items of an hour."""
    return [f"LEDGER#{hour}#{shard}" for shard in range(LEDGER_SHARDS)]


def request_hour(request_id: str) -> str:
    """Return the UTC hour in which a request began, by its id. Raises ValueError."""
    return _hour(int(request_time(request_id) // 3600))


def watched_request(shard: int) -> str:
    """Return the value of `open` in the ledger items of a shard."""
    return f"LEDGER#{shard}"


def watched_account(shard: int) -> str:
    """Return the value of `open` in the accounts of a shard."""
    return f"ACCOUNT#{shard}"


def rollup_partition(day: str) -> str:
    """Return the partition of a day's rollups."""
    return f"USAGE#{day}"


def rollup_prefix(key_id: str) -> str:
    """Return the prefix of the sort keys of a key's rollups."""
    return f"{key_id}#"


def rollup_key(hour: str, key_id: str, model: str) -> dict[str, str]:
    """Return the primary key of a rollup."""
    return {"pk": rollup_partition(hour[:10]), "sk": f"{rollup_prefix(key_id)}{hour[11:]}#{model}"}


def rollup_names(item: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return hour, key id and model of a rollup."""
    key_id, hour, model = item["sk"].split("#", 2)
    return f"{item['pk'].removeprefix('USAGE#')}T{hour}", key_id, model


def dirty_key(hour: str) -> dict[str, str]:
    """Return the primary key of the mark of a dirty hour."""
    return {"pk": DIRTY_PARTITION, "sk": f"{DIRTY_PREFIX}{hour}"}


def month_key(month: str) -> dict[str, str]:
    """Return the primary key of a month's sum."""
    return {"pk": "SERVICE", "sk": f"MONTH#{month}"}


def audit_partition(day: str) -> str:
    """Return the partition of a day's audit trail."""
    return f"AUDIT#{day}"


@lru_cache(maxsize=8)
def _hour(hours: int) -> str:
    return time.strftime("%Y-%m-%dT%H", time.gmtime(hours * 3600))
