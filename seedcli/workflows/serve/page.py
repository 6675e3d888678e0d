"""`/docs`: the routes and their fields as one page without scripts, which asks nothing of any
other host.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code { font-family: ui-monospace, monospace; } h2 { margin-top: 2.5rem; }
td { padding: .1rem 1.5rem .1rem 0; vertical-align: top; }
"""


def docs_page(schema: dict[str, Any]) -> str:
    """OpenAPI description -> HTML."""
    return "".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8><title>seed serve</title>",
            f"<style>{_STYLE}</style><h1>seed serve {_text(schema['info']['version'])}</h1>",
            "<p>The same as <a href=/openapi.json>OpenAPI</a>.</p>",
            *_routes(schema),
            "</html>",
        ]
    )


def _routes(schema: dict[str, Any]) -> Iterator[str]:
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            yield f"<h2><code>{method.upper()} {_text(path)}</code></h2>"
            yield f"<p>{_text(route.get('summary', ''))}</p>"
            for body in route.get("requestBody", {}).get("content", {}).values():
                yield from _fields(body["schema"], schema)


def _fields(found: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    if "$ref" in found:
        found = schema["components"]["schemas"][found["$ref"].rpartition("/")[2]]
    yield "<table>"
    for name, field in found.get("properties", {}).items():
        needed = "required" if name in found.get("required", ()) else ""
        yield f"<tr><td><code>{_text(name)}</code><td>{_text(_kind(field))}<td>{needed}</tr>"
    yield "</table>"


def _kind(field: dict[str, Any]) -> str:
    """What a field may hold, in a word or two."""
    if "$ref" in field:
        return field["$ref"].rpartition("/")[2]
    if "enum" in field or "const" in field:
        return " | ".join(map(str, field.get("enum", [field.get("const")])))
    if "anyOf" in field:
        return " | ".join(_kind(each) for each in field["anyOf"] if each.get("type") != "null")
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    return field.get("type", "see docs/serve.md")


def _text(text: str) -> str:
    return html.escape(str(text))
