"""Pydantic's findings about a study file in a person's words: the value, the rule it breaks, what to write.

The rules are read from the JSON schema of the model, so a new field needs nothing here.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orchestrator.study.text.source import NOTHING, Location, StudySource
from workers.contract.errors import InputError, Problem

Schema = Mapping[str, Any]

# Of a file, how many are said.
MAX_PROBLEMS = 100

OUT_OF_RANGE = {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"}
TOO_SHORT = {"too_short", "string_too_short"}
UNBOUNDED = "(−∞, ∞)"
# What a rule has that rules what is in a value; a place in a location that stands for any.
HOLDS = {"properties", "additionalProperties", "items", "prefixItems", "discriminator"}
ANYTHING = ""
KINDS = {
    "integer": "a whole number", "number": "a number", "string": "text", "array": "a list", "boolean": "true or false",
}  # fmt: skip


def refusal(problems: Sequence[Problem]) -> InputError:
    """What to raise of a file's problems: in the order of its lines, and not more than anybody reads."""
    ordered = sorted(problems, key=lambda problem: problem.line or 0)
    if len(ordered) > MAX_PROBLEMS:
        ordered[MAX_PROBLEMS:] = [Problem("the file", "has more problems", "mend these first")]
    return InputError(*ordered)


def find_problems(error: ValidationError, schema: Schema, source: StudySource) -> dict[Location, Problem]:
    """One problem for each finding, by the location in the file that is not to be relied on; of very many the first."""
    found = {}
    for details in error.errors(include_url=False)[: 2 * MAX_PROBLEMS]:
        at = wrong = _in_file(details["loc"], schema, source)
        if details["type"] == "too_short" and source.value(at):
            continue  # pydantic counts the sound items only, and has named the others
        if details["type"] == "default_factory_not_called":
            continue  # what it would follow from has its own problem
        if details["type"].startswith("union_tag"):  # the key decides, and without it nothing is known of the rest
            at = (*at, details["ctx"]["discriminator"].strip("'"))
        if details["type"] == "value_error":  # a rule across fields, in its own words: fault; remedy
            at = _in_file((*details["loc"], ANYTHING), schema, source)[:-1]
            fault, _, remedy = str(details["ctx"]["error"]).rpartition("; ")
            found[at] = source.problem(at, what=fault, remedy=remedy)
            continue
        found[wrong] = _reword(details, at, schema, source)
    return found


def closest(word: str, known: Sequence[str], *, otherwise: str) -> str:
    """A remedy for a word that should have been one of `known`."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else otherwise


def _in_file(at: Location, schema: Schema, source: StudySource) -> Location:
    """A location without what pydantic puts between the keys: tags of a union, and kinds that a value might be of."""
    kept: Location = ()
    rule = schema
    for place, part in enumerate(at, start=1):
        rule = _holder(rule, schema)
        is_tag = part in _branches(rule) or not rule.keys() & HOLDS
        is_key = part in rule.get("properties", ()) or place == len(at) or source.value((*kept, part)) is not None
        if part == ANYTHING or (not is_tag and is_key):
            kept = (*kept, part)
        rule = _below(rule, part)
    return kept


def _reword(details: ErrorDetails, at: Location, schema: Schema, source: StudySource) -> Problem:
    kind, loc = details["type"], details["loc"]
    if kind == "extra_forbidden":
        known = [
            key
            for key in _holder(_rule_at(schema, loc[:-1]), schema)["properties"]
            if source.value((*at[:-1], key)) is None
        ]
        remedy = closest(str(at[-1]), known, otherwise="remove it")
        return source.problem(at, what="is not a known key", remedy=remedy)
    rule = _rule_at(schema, loc)
    if kind.startswith("union_tag"):
        rule = {"enum": list(rule["discriminator"]["mapping"])}
    if kind in {"missing", "union_tag_not_found"}:
        return source.problem(at, what="is missing", remedy=f"add {_describe(rule, schema)}")
    shown = source.written(at)
    return source.problem(at, what=f"{shown} {_fault(kind, rule)}", remedy=_remedy(rule, shown, schema))


def _fault(kind: str, rule: Schema) -> str:
    """What a value does wrong; the remedy then says what would be right."""
    if kind in OUT_OF_RANGE:
        return f"is outside {interval_of(rule)}"
    if kind in TOO_SHORT:
        return "is empty"
    if kind == "multiple_of":
        return f"is not a multiple of {rule['multipleOf']}"
    if kind == "string_pattern_mismatch":
        return "has the wrong form"
    if options := _options(rule):
        return f"is not {' or '.join(options)}"
    kinds = [" or ".join(_options(one)) or _ranged(one) for one in rule.get("anyOf", ())]
    return f"is not {' or '.join(kinds) or _kind(rule)}"


def _kind(rule: Schema) -> str:
    return KINDS.get(rule.get("type", ""), "a mapping")


def _ranged(rule: Schema) -> str:
    return _kind(rule) + (f" in {interval}" if (interval := interval_of(rule)) != UNBOUNDED else "")


def _options(rule: Schema) -> list[str]:
    """The only values that a rule allows; empty where it names none."""
    return [str(option) for option in rule.get("enum", [rule["const"]] if "const" in rule else [])]


def _rule_at(schema: Schema, at: Location) -> Schema:
    """The part of a JSON schema that rules a location; union tags in it choose the branch."""
    rule = schema
    for part in at:
        rule = _below(_holder(rule, schema), part)
    return resolve(rule, schema)


def _holder(rule: Schema, schema: Schema) -> Schema:
    """What rules what is in a value: of text or a mapping, the mapping."""
    found = resolve(rule, schema)
    return next((kind for kind in found.get("anyOf", ()) if "properties" in kind), found)


def _below(rule: Schema, part: str | int) -> Schema:
    """One step down; a value that holds nothing is ruled by what rules it whole."""
    if part in _branches(rule):
        return {"$ref": _branches(rule)[part]}
    if isinstance(part, int):
        firsts = rule.get("prefixItems", ())
        found = firsts[part] if part < len(firsts) else rule.get("items")
    else:
        found = rule.get("properties", {}).get(part) or rule.get("additionalProperties")
    return found if isinstance(found, Mapping) else rule


def _branches(rule: Schema) -> Mapping[str | int, str]:
    """Where each tag of a union leads; empty where there is no union."""
    branches: Mapping[str | int, str] = rule.get("discriminator", {}).get("mapping", {})
    return branches


def resolve(rule: Schema, schema: Schema) -> Schema:
    """Follow a reference; for a nullable value, the rule of what is not null."""
    if "$ref" in rule:
        named: Schema = schema["$defs"][rule["$ref"].rpartition("/")[2]]
        return named
    if "anyOf" in rule:
        kinds = [kind for kind in rule["anyOf"] if kind.get("type") != "null"]
        if len(kinds) == 1:
            return {**resolve(kinds[0], schema), "description": rule.get("description", "")}
    return rule


def _describe(rule: Schema, schema: Schema) -> str:
    """What a rule asks for, as a noun phrase."""
    purpose = f" ({rule['description']})" if rule.get("description") else ""
    if options := _options(rule):
        return f"one of {', '.join(options)}" if len(options) > 1 else options[0]
    match rule:
        case {"anyOf": kinds}:
            return rule.get("description") or " or ".join(_describe(resolve(kind, schema), schema) for kind in kinds)
        case {"type": "boolean"}:
            return KINDS["boolean"] + purpose
        case {"type": "array", "prefixItems": firsts}:
            each = ", ".join(_describe(resolve(first, schema), schema) for first in firsts)
            return f"a list of {len(firsts)}: {each}{purpose}"
        case {"type": "array", "items": items}:
            size = "one or more" if rule.get("minItems") else "values"
            return f"a list of {size}, each {_describe(resolve(items, schema), schema)}"
        case {"type": "integer" | "number"}:
            return _ranged(rule) + purpose
        case {"type": "string"}:
            form = f"text like {rule['pattern']}" if "pattern" in rule else "text"
            return str(rule.get("description", form))
        case _:
            keys = ", ".join(rule.get("required", ()))
            return "a mapping" + (f" with {keys}" if keys else "")


def interval_of(rule: Schema) -> str:
    """The range of a number in mathematical brackets, infinite where there is no bound."""
    low, high = "(−∞", "∞)"
    if "minimum" in rule or "exclusiveMinimum" in rule:
        low = f"[{rule['minimum']}" if "minimum" in rule else f"({rule['exclusiveMinimum']}"
    if "maximum" in rule or "exclusiveMaximum" in rule:
        high = f"{rule['maximum']}]" if "maximum" in rule else f"{rule['exclusiveMaximum']})"
    return f"{low}, {high}"


def _remedy(rule: Schema, shown: str, schema: Schema) -> str:
    asked = f"write {_describe(rule, schema)}"
    if options := _options(rule):
        return closest(shown, options, otherwise=asked)
    match rule:
        case {"type": "integer" | "number"}:
            guess = next(_guesses(rule, shown), None)
            return f"did you mean {guess}?" if guess is not None else asked
        case {"type": "array", "items": _} if shown != NOTHING and shown[0] not in "[{-":
            return f"did you mean [{shown}]?"
        case {"type": "string"} if shown.isalnum() and shown != NOTHING and re.search(rule.get("pattern", ""), shown):
            return f'did you mean "{shown}"?'
        case _:
            return asked


def _guesses(rule: Schema, shown: str) -> Iterator[str]:
    """Numbers near what was written that the rule allows: 3e1 → 3e-1, -5 → 5, "64" → 64, 65 → 64."""
    bare = shown.strip("'\"")
    for text in (bare, re.sub(r"[eE]\+?(\d+)$", r"e-\1", bare), bare.lstrip("-")):
        try:
            number = float(text)
        except ValueError:
            return
        if not math.isfinite(number):
            return
        step = rule.get("multipleOf", 1)
        if rule["type"] == "integer":
            number = number // step * step if number.is_integer() else number
            text = f"{number:.0f}" if number.is_integer() else text
        if _allows(rule, number):
            yield text


def _allows(rule: Schema, number: float) -> bool:
    return (
        (rule["type"] == "number" or number.is_integer())
        and number >= rule.get("minimum", -math.inf)
        and number > rule.get("exclusiveMinimum", -math.inf)
        and number <= rule.get("maximum", math.inf)
        and number < rule.get("exclusiveMaximum", math.inf)
    )
