"""Requests that the admin API rejects, and the errors that name the fields."""

from typing import Any

from tests.support.admin import Admin

FUTURE = 4_000_000_000


REFUSED: list[tuple[Any, str | None]] = [
    ({}, "name"),
    ({"name": ""}, "name"),
    ({"name": "x" * 129}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"name": 5}, "name"),
    ({"name": "n", "colour": "blue"}, "colour"),
    ({"name": "n", "expires_at": 1}, "expires_at"),
    ({"name": "n", "expires_at": 10**11}, "expires_at"),
    ({"name": "n", "expires_at": "2030-01-01"}, "expires_at"),
    ({"name": "n", "enabled": "yes"}, "enabled"),
    ({"name": "n", "models": []}, "models"),
    ({"name": "n", "models": ["demo", "demo"]}, "models"),
    ({"name": "n", "models": ["demo", "gpt"]}, "models.1"),
    ({"name": "n", "networks": []}, "networks"),
    ({"name": "n", "redact": []}, "redact"),
    ({"name": "n", "redact": ["emails"]}, "redact.0"),
    ({"name": "n", "redact": ["ip", "ip"]}, "redact"),
    ({"name": "n", "networks": "203.0.113.0/24"}, "networks"),
    ({"name": "n", "networks": ["203.0.113.5/24"]}, "networks"),
    ({"name": "n", "networks": ["sk-of-my-own"]}, "networks"),
    ({"name": "n", "networks": [1]}, "networks.0"),
    ({"name": "n", "networks": [f"10.0.{number}.0/24" for number in range(17)]}, "networks"),
    ({"name": "n", "limits": {"tokens_per_day": -1}}, "limits.tokens_per_day"),
    ({"name": "n", "limits": {"tokens_per_day": 1.5}}, "limits.tokens_per_day"),
    ({"name": "n", "limits": {"tokens_per_day": True}}, "limits.tokens_per_day"),
    ({"name": "n", "limits": {"tokens_per_day": "5"}}, "limits.tokens_per_day"),
    ({"name": "n", "limits": {"tokens_per_day": 10**30}}, "limits.tokens_per_day"),
    ({"name": "n", "limits": {"concurrent_streams": 10**6}}, "limits.concurrent_streams"),
    ({"name": "n", "limits": {"cost_per_day": -0.01}}, "limits.cost_per_day"),
    ({"name": "n", "limits": {"cost_per_day": "1e30"}}, "limits.cost_per_day"),
    ({"name": "n", "limits": {"cost_per_day": "NaN"}}, "limits.cost_per_day"),
    ({"name": "n", "limits": {"cost_per_day": "1_0"}}, "limits.cost_per_day"),
    ({"name": "n", "limits": {"cost_per_day": "0.0000000001"}}, "limits.cost_per_day"),
    ({"name": "n", "limits": {"cost_per_day": True}}, "limits.cost_per_day"),
    ({"name": "n", "limits": {"per_day": 1}}, "limits.per_day"),
    ({"name": "n", "secret": "sk-of-my-own"}, "secret"),
    ([], None),
]


async def test_what_makes_no_sense_is_refused_by_name(admin: Admin) -> None:
    """A 400 names the invalid field and does not repeat its value. No key is created."""
    for body, param in REFUSED:
        error = await admin.refused(400, "POST", "/keys", body)
        assert (error["type"], error["param"]) == ("invalid_request_error", param), body
        assert "sk-of-my-own" not in error["message"]
        assert "after validation" not in error["message"]  # a validator's own words
    assert admin.boto.scan()["Count"] == 0


async def test_unknown_and_absurd_queries(admin: Admin) -> None:
    """Unknown and invalid query parameters are rejected like fields of a body."""
    assert (await admin.refused(400, "GET", "/keys", limit=0))["param"] == "limit"
    assert (await admin.refused(400, "GET", "/keys", limit="many"))["param"] == "limit"
    assert (await admin.refused(400, "GET", "/keys", colour="blue"))["param"] == "colour"
