"""The target of `sluice verify`: its temporary keys. tests/e2e/test_verify.py has the rest."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest

from cli.commands.verify.target import OWNER, Target, temporary_keys
from cli.lib.project import CommandError

if TYPE_CHECKING:
    from cli.lib.admin_api import Admin


class Keys:
    """An admin API that has keys only."""

    def __init__(self) -> None:
        """Begin with keys of interrupted runs: an old one, and one that may still run."""
        now = time.time()
        self.rows = [
            {"id": "abandoned000", "created_at": now - 10_000},
            {"id": "othersrun000", "created_at": now - 60},
        ]
        self.broken = False

    def __call__(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Make or delete a key."""
        if self.broken:
            raise CommandError("The admin API answered 503.")
        if method == "POST":
            assert cast("dict[str, Any]", body)["owner"] == OWNER
            key = f"{len(self.rows):012}"
            self.rows.append({"id": key, "created_at": time.time()})
            return {"id": key, "secret": f"sk-{key}-secret"}
        self.rows = [row for row in self.rows if row["id"] != path.rpartition("/")[2]]
        return {}

    def pages(self, _path: str, *, owner: str) -> Iterator[dict[str, Any]]:
        """List the keys."""
        assert owner == OWNER
        yield from [*self.rows]


def target(keys: Keys) -> Target:
    """Return a stack with these keys."""
    return Target("dev", "sluice", {}, {}, cast("Admin", keys))


@pytest.mark.parametrize("error", [KeyboardInterrupt, CommandError, None])
def test_keys_are_deleted_whatever_happens(error: type[BaseException] | None) -> None:
    """At the end of a run its keys are deleted, and those of runs that ended long ago.

    Keys of another run, which may be going on, stay.
    """
    keys = Keys()
    one = target(keys)
    try:
        with temporary_keys(one):
            assert one.key == "sk-000000000002-secret"
            one.make_key(limits={})
            assert len(keys.rows) == 4
            if error is not None:
                raise error("interrupted")
    except (KeyboardInterrupt, CommandError):
        assert error is not None
    assert [row["id"] for row in keys.rows] == ["othersrun000"]


def test_keys_that_stay_are_named() -> None:
    """If keys cannot be deleted, the error says which command lists them."""
    keys = Keys()
    with (
        pytest.raises(CommandError, match=r"are left: .* `sluice keys list --stage dev"),
        temporary_keys(target(keys)),
    ):
        keys.broken = True
