"""Values for a JSON schema, good and bad, for property tests of what the API says of itself.

Example:
    schema = app.openapi()
    values(schema, {"type": "integer", "minimum": 1})  # 1, 7, …, and now and then "7", 0, None, 2**70
"""

from typing import Any

from hypothesis import strategies as st

type Schema = dict[str, Any]

# What JSON can carry and somebody will send: other types, ends of ranges, text that no database holds.
HOSTILE: list[Any] = [
    None, True, -1, 0, 2**31, 2**63, 2**70, 0.5, "", "\0", "\ud800", "a\0b", "../..", "x" * 5_000, "%", "é", [], {},
    [[]], {"": ""}, {"\ud800": "\ud800"}, {"\0": "\0"}, {"a" * 5_000: "b"},
]  # fmt: skip


def resolve(whole: Schema, schema: Schema) -> Schema:
    """Follows a reference into the components."""
    while "$ref" in schema:
        schema = whole["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def fitting(whole: Schema, schema: Schema) -> st.SearchStrategy[Any]:
    """Values that the schema allows, their parts now and then hostile."""
    schema = resolve(whole, schema)
    if "anyOf" in schema:
        return st.one_of([fitting(whole, one) for one in schema["anyOf"]])
    kind = schema.get("type")
    if kind == "integer":
        low = schema.get("minimum", 0)
        return st.integers(low, min(schema.get("maximum", low + 1_000), low + 1_000))
    if kind == "string":
        return st.text(max_size=min(schema.get("maxLength", 40), 40))
    if kind == "boolean":
        return st.booleans()
    if kind == "array":
        size = min(schema.get("maxItems", 3), 3)
        return st.lists(
            values(whole, schema["items"]), min_size=schema.get("minItems", 0), max_size=size
        )
    if kind == "object" and "properties" in schema:
        required = set(schema.get("required", ()))
        parts = {name: values(whole, one) for name, one in schema["properties"].items()}
        return st.fixed_dictionaries(
            {name: one for name, one in parts.items() if name in required},
            optional={name: one for name, one in parts.items() if name not in required},
        )
    if kind == "object":
        return st.dictionaries(
            st.text(min_size=1, max_size=10),
            values(whole, schema["additionalProperties"]),
            max_size=3,
        )
    return st.none()


def values(whole: Schema, schema: Schema) -> st.SearchStrategy[Any]:
    """Values for the schema, mostly fitting."""
    good = fitting(whole, schema)
    return st.one_of(good, good, good, good, good, st.sampled_from(HOSTILE))
