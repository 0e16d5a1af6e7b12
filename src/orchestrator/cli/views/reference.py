"""Every field of a study file as a page in Markdown, a table a section, made from the JSON schema alone."""

import json
import re
from collections.abc import Iterator
from typing import Any

from orchestrator.study.text.problems import KINDS, UNBOUNDED, Schema, interval_of, resolve

INTRODUCTION = """# What a study file may say

Made from the models that read it, by `sweep schema --page`. The same for editors, as JSON schema:
[study.schema.json](study.schema.json), made by `sweep schema`. [README.md](README.md) says what a study is.
"""
HEAD = "| field | takes | unit | default | what it is |\n|---|---|---|---|---|"
# Units stand in the names.
UNIT = re.compile(r"_(s|days|months|years|words|tokens)$|^n_(\w+)$")
NO_DEFAULT = object()


def reference_page(schema: Schema) -> str:
    """The page; a section is described where it is first met, and linked from everywhere."""
    headings: dict[str, str] = {}
    sections = [*_sections("", schema, schema, headings)]
    for name, heading in headings.items():
        link = f"[{heading}](#{_anchor(heading)})"
        sections = [section.replace(_mark(name), link) for section in sections]
    return "\n".join([INTRODUCTION, *sections])


def _sections(place: str, rule: Schema, schema: Schema, headings: dict[str, str]) -> Iterator[str]:
    """The table of a mapping's fields, then those of all that is below it."""
    title = f"## {headings[rule['title']]}" if place else "## The file"
    lines = [_row(name, field, name in rule.get("required", ()), schema) for name, field in rule["properties"].items()]
    yield "\n".join([title, "", " ".join(rule.get("description", "").split()), "", HEAD, *lines, ""])
    for name, field in rule["properties"].items():
        for inner, tag in _objects(field, schema):
            if inner["title"] not in headings:
                below = headings[inner["title"]] = f"{place}.{name}{tag}".strip(".")
                yield from _sections(below, inner, schema, headings)


def _objects(rule: Schema, schema: Schema) -> Iterator[tuple[Schema, str]]:
    """The mappings with fields of their own that a value may be or hold, and what tells each from the others."""
    if "$ref" in rule:
        yield from _objects(resolve(rule, schema), schema)
    elif "properties" in rule:
        yield rule, ""
    elif "discriminator" in rule:
        for tag, place in rule["discriminator"]["mapping"].items():
            yield resolve({"$ref": place}, schema), f" ({tag})"
    for one in (*rule.get("anyOf", ()), *(rule[part] for part in ("items", "additionalProperties") if part in rule)):
        if isinstance(one, dict):
            yield from _objects(one, schema)


def _row(name: str, rule: Schema, is_required: bool, schema: Schema) -> str:
    unit, default = UNIT.search(name), rule.get("default", NO_DEFAULT)
    if is_required:
        usual = "**required**"
    elif default is NO_DEFAULT:
        usual = "follows from others"
    else:
        usual = "see there" if isinstance(default, dict) and default else _code(default)
    shown = unit[1] or unit[2] if unit else ""
    cells = (f"`{name}`", _takes(rule, schema), shown, usual, _purpose(rule, schema))
    return " | ".join(["", *(cell.replace("|", "\\|") for cell in cells), ""]).strip()


def _purpose(rule: Schema, schema: Schema) -> str:
    """In its own words, else in those of what it may be or hold."""
    for one in (rule, rule.get("items", {}), *rule.get("anyOf", ())):
        if said := one.get("description") or ("$ref" in one and resolve(one, schema).get("description")):
            return " ".join(said.partition("\n\n")[0].split())
    return ""


def _takes(rule: Schema, schema: Schema) -> str:
    """What may be written, with its range."""
    if objects := [found for found, _ in _objects(rule, schema)]:
        each = " or ".join([*_alone(rule, schema), *(_mark(found["title"]) for found in objects)])
        return {"array": f"a list, each {each}", "object": f"names, each {each}"}.get(rule.get("type", ""), each)
    rule = resolve(rule, schema) if "$ref" in rule else rule
    match rule:
        case {"anyOf": kinds}:
            return " or ".join(_takes(kind, schema) for kind in kinds)
        case {"enum": options}:
            return ", ".join(map(_code, options))
        case {"const": only}:
            return _code(only)
        case {"type": "array", "prefixItems": firsts}:
            return f"a list of {len(firsts)}: {', '.join(_takes(first, schema) for first in firsts)}"
        case {"type": "array", "items": items}:
            return f"a list of {'one or more' if rule.get('minItems') else 'any number'}, each {_takes(items, schema)}"
        case {"type": "object", "additionalProperties": values}:
            return f"names, each {_takes(values, schema)}"
        case {"type": "integer" | "number" as kind}:
            interval = interval_of(rule)
            step = f", a multiple of {rule['multipleOf']}" if "multipleOf" in rule else ""
            return KINDS[kind] + (f" in {interval}" if interval != UNBOUNDED else "") + step
        case {"type": "string", "pattern": pattern}:
            return f"text like {_code(pattern)}"
        case {"type": "null"}:
            return "null"
    return KINDS[rule["type"]]


def _alone(rule: Schema, schema: Schema) -> list[str]:
    """What may stand for a whole mapping."""
    inner = next((rule[part] for part in ("items", "additionalProperties") if part in rule), rule)
    kinds = resolve(resolve(inner, schema), schema).get("anyOf", ())
    return [KINDS[one["type"]] for one in kinds if one.get("type") == "string"]


def _code(value: Any) -> str:  # noqa: ANN401  a JSON value
    return f"`{value if isinstance(value, str) and value and value.isprintable() else json.dumps(value)}`"


def _mark(title: str) -> str:
    """Stands for a link until its section has a heading."""
    return f"⟨{title}⟩"


def _anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
