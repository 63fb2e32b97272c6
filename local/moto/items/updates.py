"""Updates items as moto does, without its copies of the item before and after.

moto copies the item twice, converts it to JSON twice and parses the expressions twice, for answers
that most calls do not ask for.
"""

import copy
from functools import lru_cache
from typing import Any

from moto.dynamodb.comparisons import ConditionExpressionParser
from moto.dynamodb.exceptions import (
    ConditionalCheckFailed,
    ItemSizeTooLarge,
    ItemSizeToUpdateTooLarge,
    ProvidedKeyDoesNotExist,
)
from moto.dynamodb.models.dynamo_type import Item
from moto.dynamodb.parsing.executors import UpdateExpressionExecutor
from moto.dynamodb.parsing.expressions import (
    ExpressionAttributeName,
    ExpressionAttributeValue,
    UpdateExpressionParser,
)
from moto.dynamodb.parsing.validators import UpdateExpressionValidator
from moto.dynamodb.responses import DynamoResult, validate_attributes_used


def may_update(parameters: dict[str, Any]) -> bool:
    """Return whether `update` answers a call. Others want the item as it was."""
    return parameters.get("ReturnValues", "NONE") in {"NONE", "ALL_NEW"} and bool(
        parameters.get("UpdateExpression", "").strip()
    )


def update(handler: Any) -> DynamoResult:
    """Carry a call out; return its result, or raise moto's errors, in moto's order."""
    body = handler.body
    name, key = body["TableName"], body["Key"]
    backend = handler.dynamodb_backend
    table = backend.get_table(name)
    if not all(attribute in table.attribute_keys for attribute in key):
        raise ProvidedKeyDoesNotExist
    text = body["UpdateExpression"].strip()
    expression = UpdateExpressionParser.make(text)
    used_names, used_values = _placeholders(text)
    hash_value, range_value = backend.get_keys_value(table, key)
    names = body.get("ExpressionAttributeNames", {})
    values = handler._get_expr_attr_values()  # noqa: SLF001 (moto's own, pinned)
    condition = ConditionExpressionParser(body.get("ConditionExpression"), names, values)
    holds = condition.parse()
    validate_attributes_used(names, [*used_names, *condition.expr_attr_names_found])
    validate_attributes_used(values, [*used_values, *condition.expr_attr_values_found], "Values")

    item = table.get_item(hash_value, range_value)
    before = copy.deepcopy(item) if table.stream_shard is not None else None
    if not holds.expr(item):
        wanted = body.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
        raise ConditionalCheckFailed(
            item=item.to_json()["Attributes"] if wanted and item is not None else None
        )
    if item is None:
        # moto validates before anything is made.
        _validated(expression, names, values, Item(hash_value, range_value, {}), table)
        data = {table.hash_key_attr: {hash_value.type: hash_value.value}}
        if range_value is not None:
            data[table.range_key_attr] = {range_value.type: range_value.value}
        table.put_item(data)
        item = table.get_item(hash_value, range_value)
    validated = _validated(expression, names, values, item, table)
    validated.normalize()
    try:
        UpdateExpressionExecutor(validated, item, names).execute()
    except ItemSizeTooLarge:
        raise ItemSizeToUpdateTooLarge from None
    if table.stream_shard is not None:
        table.stream_shard.add(before, item)
    result: dict[str, Any] = {"ConsumedCapacity": {"TableName": name, "CapacityUnits": 0.5}}
    if body.get("ReturnValues") == "ALL_NEW":
        result["Attributes"] = item.to_json()["Attributes"]
    return DynamoResult(result)


def _validated(expression: Any, names: Any, values: Any, item: Any, table: Any) -> Any:
    return UpdateExpressionValidator(
        expression,
        expression_attribute_names=names,
        expression_attribute_values=values,
        item=item,
        table=table,
    ).validate()


@lru_cache(maxsize=1024)
def _placeholders(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the placeholders of names and of values in an expression that was parsed."""
    parsed = UpdateExpressionParser.make(text)
    return (
        tuple(
            node.get_attribute_name_placeholder()
            for node in parsed.find_clauses([ExpressionAttributeName])
        ),
        tuple(node.get_value_name() for node in parsed.find_clauses([ExpressionAttributeValue])),
    )
