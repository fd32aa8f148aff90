"""The part of JSON Schema that docs/schema uses, checked with nothing but Python. An unknown word is an error."""

from collections.abc import Iterator
from typing import Any

_NOTES = {"$schema", "$id", "title", "description", "definitions"}
_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def faults(value: Any, schema: dict, root: dict | None = None, at: str = "") -> Iterator[str]:
    root = root or schema
    for word, said in schema.items():
        match word:
            case "$ref":
                yield from faults(value, root["definitions"][said.removeprefix("#/definitions/")], root, at)
            case "allOf":
                for part in said:
                    yield from faults(value, part, root, at)
            case "type":
                if not any(_is(value, kind) for kind in ([said] if isinstance(said, str) else said)):
                    yield f"{at}: {value!r} is no {said}"
            case "const" | "enum":
                if value not in ([said] if word == "const" else said):
                    yield f"{at}: {value!r} is not {said}"
            case "required":
                yield from (f"{at} lacks {key}" for key in said if value is not None and key not in value)
            case "properties":
                for key in (value or {}).keys() & said.keys():
                    yield from faults(value[key], said[key], root, f"{at}/{key}")
            case "additionalProperties":
                for key in value.keys() - schema.get("properties", {}).keys():
                    yield from faults(value[key], said, root, f"{at}/{key}")
            case "items":
                for i, item in enumerate(value):
                    yield from faults(item, said, root, f"{at}/{i}")
            case "minItems" | "maxItems":
                if (len(value) < said) if word == "minItems" else (len(value) > said):
                    yield f"{at} has {len(value)} items, not {said}"
            case "minimum" | "maximum":
                if value is not None and ((value < said) if word == "minimum" else (value > said)):
                    yield f"{at}: {value} is beyond {said}"
            case _:
                assert word in _NOTES, f"the schema says {word}, which this checker does not know"


def _is(value: Any, kind: str) -> bool:
    if kind in ("number", "integer"):
        return not isinstance(value, bool) and isinstance(value, int if kind == "integer" else (int, float))
    return isinstance(value, _TYPES[kind])
