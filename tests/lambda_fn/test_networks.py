"""The address of a request, and the networks from which a key may be used."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn import ids, networks
from lambda_fn.auth import Caller, read_key
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.errors import APIError, InsufficientQuota, PermissionDenied
from lambda_fn.metering import accounts
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.keys import account_key
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.networks import admits, canonical, viewer
from lambda_fn.stream.admit import Gate
from tests.support.function import KEY, Call

EDGE = "130.176.0.1"
OFFICE = "203.0.113.0/24 2001:db8::/32"
ADDRESSES = st.ip_addresses().map(str)


@pytest.mark.parametrize(
    ("forwarded", "found"),
    [
        ("", EDGE),
        ("203.0.113.7", "203.0.113.7"),
        (f"203.0.113.7, {EDGE}", "203.0.113.7"),
        ("10.0.0.1, 203.0.113.7", "203.0.113.7"),
        (f"10.0.0.1,203.0.113.7,{EDGE}", "203.0.113.7"),
        (f"{EDGE}, 203.0.113.7", "203.0.113.7"),
        (f"203.0.113.7, {EDGE}, {EDGE}", EDGE),
        ("203.0.113.7, ", EDGE),
        (" 2001:db8::7 ", "2001:db8::7"),
    ],
)
def test_the_viewer_is_the_last_that_was_forwarded(forwarded: str, found: str) -> None:
    """CloudFront's entry is the last, or the one before the address of the connection."""
    assert viewer(forwarded, EDGE) == found


@given(st.text(), ADDRESSES, st.booleans())
def test_what_a_client_sends_is_never_believed(sent: str, client: str, appended: bool) -> None:
    """For any X-Forwarded-For of a client, the address is the one that CloudFront saw."""
    header = f"{sent}, {client}" + (f", {EDGE}" if appended else "")
    assert viewer(header, EDGE) == client


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("203.0.113.255", True),
        ("203.0.114.0", False),
        ("203.0.113.7:51234", True),
        ("::ffff:203.0.113.7", True),
        ("::ffff:198.51.100.7", False),
        ("2001:db8:ffff::1", True),
        ("[2001:db8::1]:443", True),
        ("2001:db9::1", False),
        ("[2001:db8::1", True),
        ("", False),
        ("unknown", False),
        ("203.0.113.7.", False),
        ("0203.0.113.7", False),
        ("203.0.113.7/24", False),
    ],
)
def test_an_address_is_inside_or_outside(address: str, inside: bool) -> None:
    """An address is compared with networks without its port. IPv4 in IPv6 is IPv4.

    A malformed address is in no network. Without networks any address is admitted.
    """
    assert admits(OFFICE, address) is inside
    assert admits(networks.ANYWHERE, address)


def test_networks_are_kept_in_one_form() -> None:
    """Networks are stored in one form.

    Repeats are removed, a host is a network, IPv4 in IPv6 is IPv4, and bits outside of the prefix
    are rejected.
    """
    given = [
        "203.0.113.0/24",
        "203.0.113.0/255.255.255.0",
        "198.51.100.7",
        "2001:DB8::/32",
        "::ffff:192.0.2.0/120",
    ]
    assert canonical(given) == "203.0.113.0/24 198.51.100.7/32 2001:db8::/32 192.0.2.0/24"
    for wrong in ("203.0.113.5/24", "203.0.113.0/33", "office", "", "2001:db8::1/32"):
        with pytest.raises(ValueError, match=r".*"):
            canonical([wrong])


class Office:
    """A key with networks, its callers, and the writes of the gate."""

    def __init__(self, table: Table, items: Any, *, meter_open: bool = False) -> None:
        """Create the key."""
        self.key = ids.new_key()
        self.key_id = ids.key_id_of(self.key) or ""
        self.items = items
        self.gate = Gate(table, meter_open=meter_open)
        self.writes = 0
        items.put_item(Item=accounts.new_account(self.key, name="office", now=1, networks=OFFICE))
        update = table.update

        async def counted(change: Any, **options: Any) -> Any:
            self.writes += change.key["pk"].startswith("KEY#")
            return await update(change, **options)

        table.update = counted  # type: ignore[method-assign,assignment]

    def caller(self, address: str) -> Caller:
        """Return a caller with the key at an address."""
        return Caller(self.key_id, ids.hash_key(self.key), address)

    def account(self) -> Account:
        """Read the account."""
        return Account.of(self.items.get_item(Key=account_key(self.key_id))["Item"])

    async def admit(self, address: str, *, reserved: int = 100) -> None:
        """Admit a request from an address."""
        opening = Opening(ids.new_request_id(), self.key_id, "m", reserved, 5000, Prices(10, 100))
        await self.gate.admit(self.caller(address), opening)


@pytest.fixture
def office(table: Table, items: Any) -> Office:
    """Return a key with networks, and an environment that has not cached it."""
    return Office(table, items)


async def test_only_who_is_inside_is_admitted(office: Office) -> None:
    """Requests from inside are admitted, also the first.

    Requests from outside are rejected, and no hold is placed for them.
    """
    for address in ("198.51.100.7", "2001:db9::1", ""):
        with pytest.raises(PermissionDenied) as refused:
            await office.admit(address)
        assert refused.value.code == "network_not_allowed"
    assert not office.account().in_flight
    for address in ("203.0.113.7", "2001:db8::7"):
        await office.admit(address)
    assert len(office.account().in_flight) == 2
    with pytest.raises(PermissionDenied):
        await office.admit("198.51.100.7")
    assert len(office.account().in_flight) == 2


async def test_networks_cost_no_write(office: Office) -> None:
    """Each request writes to the account once, also the first of an environment."""
    await office.admit("203.0.113.7")
    first, office.writes = office.writes, 0
    await office.admit("203.0.113.8")
    assert (first, office.writes) == (1, 1)


async def test_changed_networks_hold_at_once(office: Office, items: Any) -> None:
    """If an environment has cached other networks, the networks of the account count.

    The environment tries again with them.
    """
    await office.admit("203.0.113.7")
    new = accounts.new_account(office.key, name="office", now=1, networks="198.51.100.0/24")
    items.put_item(Item=new)
    with pytest.raises(PermissionDenied):
        await office.admit("203.0.113.7")
    await office.admit("198.51.100.7")
    items.put_item(Item=accounts.new_account(office.key, name="office", now=1))
    await office.admit("192.0.2.1")


async def test_a_limit_still_speaks_for_itself(office: Office, items: Any) -> None:
    """A spent budget is reported inside the networks, and not outside."""
    most = accounts.Limits(tokens_day=50)
    items.put_item(
        Item=accounts.new_account(office.key, name="office", now=1, networks=OFFICE, limits=most)
    )
    for _ in range(2):
        with pytest.raises(InsufficientQuota):
            await office.admit("203.0.113.7")
    with pytest.raises(PermissionDenied):
        await office.admit("198.51.100.7")


async def test_calls_that_spend_nothing_are_held_to_it_too(office: Office) -> None:
    """Models and usage are shown only inside. A wrong key reveals nothing of the networks."""
    await office.gate.check_key(office.caller("203.0.113.7"))
    with pytest.raises(PermissionDenied):
        await office.gate.check_key(office.caller("198.51.100.7"))
    with pytest.raises(APIError) as wrong:
        await office.gate.check_key(Caller(office.key_id, "0" * 64, "203.0.113.7"))
    assert wrong.value.code == "invalid_api_key"


async def test_an_open_meter_does_not_open_networks(table: Table, items: Any) -> None:
    """With fail-open metering, a recently used key is still served only inside its networks."""
    office = Office(table, items, meter_open=True)
    await office.admit("203.0.113.7")

    async def away(*_: Any, **__: Any) -> Any:
        raise MeterUnavailable

    table.update = table.put = table.get = away  # type: ignore[method-assign]
    await office.admit("203.0.113.8")
    with pytest.raises(APIError) as refused:
        await office.admit("198.51.100.7")
    assert refused.value.status == 503


async def test_the_api_refuses_by_what_cloudfront_saw(call: Call, items: Any) -> None:
    """Each path is a 403 outside, for any X-Forwarded-For of the client."""
    key = ids.new_key()
    items.put_item(Item=accounts.new_account(key, name="office", now=1, networks=OFFICE))
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    for method, path in (
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/models"),
        ("GET", "/v1/usage"),
    ):
        for forwarded, status in {
            "203.0.113.7": 200,
            "203.0.113.7, 198.51.100.7": 403,
            "": 403,
        }.items():
            more = {"x-forwarded-for": forwarded}
            reply = await call(method, path, body if method == "POST" else None, key=key, more=more)
            assert reply.status == status, (path, forwarded, reply.body)
            if status == 403:
                assert reply.error["code"] == "network_not_allowed"
    reply = await call("GET", "/v1/usage", key=key, more={"x-forwarded-for": "2001:db8::1"})
    assert json.loads(reply.body)["key"]["networks"] == OFFICE.split()


def test_where_a_caller_comes_from_is_read_with_its_key() -> None:
    """Without X-Forwarded-For the address is the connection's."""
    headers = {"authorization": f"Bearer {KEY}"}
    assert read_key(headers, ("192.0.2.1", 0)).address == "192.0.2.1"
    assert read_key(headers).address == ""
    assert (
        read_key({**headers, "x-forwarded-for": "x, 203.0.113.7"}, (EDGE, 0)).address
        == "203.0.113.7"
    )


def test_no_cold_start_pays_for_networks() -> None:
    """Neither reading a caller's address nor a key without networks imports `ipaddress`."""
    code = (
        "import sys; import lambda_fn.networks as n; n.viewer('1.2.3.4, 5.6.7.8', ''); "
        "n.admits('', 'x');"
        "assert 'ipaddress' not in sys.modules; n.admits('10.0.0.0/8', 'x'); assert "
        "'ipaddress' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
