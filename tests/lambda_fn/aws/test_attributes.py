"""DynamoDB's typed attributes, compared with boto3's."""

from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.aws.attributes import PerAttempt, unwrap_all, wrap, wrap_all

plain = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(-(10**37), 10**37),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), plain))
def test_values_are_as_boto3_writes_and_reads_them(item: dict[str, Any]) -> None:
    """Values are wrapped as boto3 wraps them. Unwrapped, they are the same again."""
    wrapped = wrap_all(item)
    assert wrapped == {name: TypeSerializer().serialize(value) for name, value in item.items()}
    assert unwrap_all(wrapped) == item
    assert {name: TypeDeserializer().deserialize(value) for name, value in wrapped.items()} == item


def test_numbers_with_a_fraction_are_floats() -> None:
    """A number that is not whole is read as a float."""
    assert unwrap_all({"a": {"N": "1.5"}, "b": {"N": "10"}}) == {"a": 1.5, "b": 10}


def test_a_value_of_each_attempt() -> None:
    """A `PerAttempt` is resolved for each attempt, also inside of other values."""
    value = [PerAttempt(lambda attempt: f"try {attempt}")]
    assert wrap(value, 2) == {"L": [{"S": "try 2"}]}


def test_other_types_are_refused() -> None:
    """A type that DynamoDB does not have is an error."""
    with pytest.raises(TypeError, match="set has no form"):
        wrap({"a": {1}})
