"""The study that `sweep cohort init` writes: what was guessed says so, and what only a person knows is left to write.

An empty field is refused by its line, so nothing can be forgotten.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

from workers.contract.answers.findings import ColumnSketch, TableSketch

PLAIN = re.compile(r"[A-Za-z_/][\w.<>/+-]*( [\w.<>/+-]+)*")
SPOKEN = {"yes", "no", "true", "false", "null", "on", "off", "y", "n", "nan", "~"}
AFFIRMED, DENIED = {"yes", "y", "true", "present", "positive"}, {"no", "n", "false", "absent", "negative"}
MEN, WOMEN = {"m", "male", "man", "1"}, {"f", "w", "female", "woman", "2", "0"}
OUTCOME = re.compile(r"status|event|dea(d|th)|died|dth|cens|fail|outcome|relapse|recur|mort|surv|progress|delta", re.I)
FOLLOWED = re.compile(r"time|(^|[_. ])(days?|weeks?|months?|years?|t)$|^fu|follow|surv|durat|stop", re.I)
AGE, SEX = re.compile(r"^age([_. ]|$)", re.I), re.compile(r"^(sex|gender)([_. ]|$)", re.I)
OLDEST = 125
CLOCKS = ("day", "week", "month", "year")
# By name, where the middle value is in the range: units that a person must see to.
UNITS = (
    (r"s(ys)?bp|d(ia)?bp|meanbp|map$", "mmHg", 40, 200), (r"bmi", "kg/m2", 15, 45),
    (r"^hr|heart|pulse", "/min", 40, 120), (r"plat", "10^9/L", 50, 600),
    (r"gluc", "mg/dL", 50, 300), (r"gluc", "mmol/L", 3, 15), (r"chol|hdl|ldl", "mg/dL", 30, 400),
    (r"crea", "mg/dL", 0.3, 5), (r"crea", "umol/L", 30, 400), (r"bili", "mg/dL", 0.1, 20), (r"^alb", "g/dL", 1.5, 6),
    (r"^(weight|wt)", "kg", 40, 120), (r"^(height|ht)", "cm", 130, 200),
)  # fmt: skip
# Why a column of some kind is no input.
LEFT_OUT = {
    "empty": "is empty: left out",
    "date": "holds dates: left out; they are for times",
    "text": "has many words: left out",
    "rare": "has rare words alone: left out; declare those that count under `categories`",
}
REST = """
prompt: {template: history, max_words: 40}   # the least telling items go; the tiny base holds 256 tokens
bases:
  tiny-llama: {kind: builtin, recipe: tiny_llama}   # a demonstration; write your own base beside it
axes:
  supervision: [label_only, free_form]
  base: [tiny-llama]
  train_size: [128]        # `sweep cohort check` says how many there are
  learning_rate: [3e-3]
  seed: [11, 23]
training: {steps: 150, batch_size: 32}
controls: [zero_shot, permuted_labels, age_sex, logistic]
contrasts:
  rationale_vs_label: {treatment: [free_form], reference: label_only}
"""


def draft(place: Path, sketch: TableSketch, *, digest: str) -> str:
    """A study of this table or folder, as far as it can be told."""
    name = re.sub(r"[^a-z0-9]+", "-", place.name.split(".")[0].lower()).strip("-") or "study"
    head = [
        "# A draft. Fill what is empty: it is refused until then. A guess is marked as one; see to each.",
        f"study: {name}",
        "question:                # what the study asks",
        "cohort:",
        f"  source: {'meds' if sketch.labels else 'table'}",
        f"  {'folder' if sketch.labels else 'file'}: {_said(str(place))}",
        f"  sha256: {digest}",
        "  data_class: controlled # or public, or synthetic; it says what may be shown and sent",
    ]
    if sketch.labels:
        labels = [
            f"  # Label files: {', '.join(map(_said, sketch.labels))}",
            "  labels:",
            "  question:              # what they answer",
        ]
        return "\n".join([*head, *labels, REST.lstrip()])
    lines = _long(sketch) if sketch.code else _wide(sketch)
    return "\n".join([*head, "  mapping:", *(f"    {line}" for line in lines), REST.lstrip()])


def _wide(sketch: TableSketch) -> Iterator[str]:
    flags = [one for one in sketch.columns if _may_be_outcome(one, has_visits=sketch.has_several)]
    flags = flags or [one for one in sketch.columns if one.kind == "flag"]
    taken = {sketch.id, sketch.time, sketch.stop}
    times = [one for one in sketch.columns if FOLLOWED.search(one.name) and one.kind in ("number", "date")]
    times = [one for one in times if one.name not in taken and not (sketch.has_several and one.changes)]
    age, sex = (next((one for one in sketch.columns if rule.search(one.name)), None) for rule in (AGE, SEX))
    if age is not None and (age.kind != "number" or age.high > OLDEST or (sketch.has_several and not age.changes)):
        age = None  # in months, say; or at entry, not at the row
    yield "shape: wide"
    yield "question:              # as the prompt asks it, such as: Death within a year?"
    yield from _rows(sketch)
    yield "horizon_days:          # within how many days of the index the outcome counts"
    yield f"# Outcome candidates: {'; '.join(_candidate(one) for one in flags) or 'none seen'}."
    yield f"# Times of it: {', '.join(_said(one.name) for one in times) or 'none seen'}; or {{column: …, unit: years}}."
    yield "# Of words or codes: equals: dead (or one_of: […]), competing: […], lost: […]."
    yield "outcome: {flag: , time: }"
    afterwards = [one.name for one in (*flags, *times)]
    yield f"forbidden: [{', '.join(map(_said, afterwards))}]   # guess: what tells the outcome or follow-up"
    if age is not None:
        yield f"age: {{column: {_said(age.name)}}}   # guess: years"
    if sex is not None and (said := _sexes(sex)):
        yield f"sex: {{column: {_said(sex.name)}, {said}}}   # guess"
    yield "inputs:"
    taken |= {*afterwards, age.name if age else None, sex.name if sex else None}
    for one in sketch.columns:
        if one.name not in taken:
            yield f"  {_input(one, has_visits=sketch.has_several)}"


def _long(sketch: TableSketch) -> Iterator[str]:
    yield "shape: long"
    yield "question:              # as the prompt asks it, such as: Death within a year?"
    yield from _rows(sketch)
    yield f"code: {_said(sketch.code or '')}   # guess"
    if sketch.value:
        yield f"value: {_said(sketch.value)}   # guess: numbers"
    yield "horizon_days:          # within how many days of the index the outcome counts"
    yield "outcome: {codes: }     # how the codes of it begin, as [I21, I22]; they are no inputs"
    yield "# censoring: {end: …, death: […]}   # codes of the end of follow-up, which else is the last row; of death"
    yield "# age: {code: …}   # of a birth; sex: {male: …, female: …}"
    yield "unlisted: ignored      # or kept"
    yield "inputs:                # the most frequent codes"
    for one in sketch.codes:
        yield f"  - {{code: {_said(one.code)}, kind: {'number' if one.has_number else 'event'}}}"


def _rows(sketch: TableSketch) -> Iterator[str]:
    if sketch.decimal != ".":
        yield f'decimal: "{sketch.decimal}"   # guess'
    if sketch.thousands:
        yield f'thousands: "{sketch.thousands}"   # guess: 1{sketch.thousands}217 is more than a thousand'
    if sketch.time is None and sketch.has_several:
        yield f"id: {_said(sketch.id or '')}   # guess: several rows a participant"
        yield "time:                  # the column that says when each row is; or keep one row each, with `clock: none`"
        yield "clock: days            # or weeks, months, years, dates: what it counts"
        yield "index: {rule: first_row}   # or every_row, or another of sweeps/reference.md"
        return
    if sketch.time is None:
        said = _said(sketch.id) if sketch.id else "row"
        yield f"id: {said}   # guess: one row a participant"
        yield "clock: none"
        return
    time = next(one for one in sketch.columns if one.name == sketch.time)
    unit = next((each for each in CLOCKS if each in time.name.lower()), "day")
    clock = "dates" if time.kind == "date" else f"{unit}s"
    yield f"id: {_said(sketch.id or '')}   # guess: several rows a participant"
    yield f"time: {_said(time.name)}   # guess"
    if sketch.stop:
        yield f"stop: {_said(sketch.stop)}   # guess: start-stop rows; an outcome without a time comes at its row's end"
    yield f"clock: {clock}   # guess: what times count"
    yield "index: {rule: first_row}   # or every_row, or another of sweeps/reference.md"


def _may_be_outcome(column: ColumnSketch, *, has_visits: bool) -> bool:
    """By its name; or a flag that never changes from visit to visit, as what tells the whole follow-up does."""
    is_told = column.kind == "flag" and has_visits and not column.changes
    says_so = any(OUTCOME.search(text) for text in (column.name, *column.words))
    return is_told or (says_so and (column.kind in ("flag", "date") or bool(column.words)))


def _candidate(column: ColumnSketch) -> str:
    words = ", ".join(map(_said, column.words)) or ("a date: as flag and as time" if column.kind == "date" else "0, 1")
    return f"{_said(column.name)} ({words}{', and rare ones' if column.n_rare else ''})"


def _sexes(column: ColumnSketch) -> str:
    words = {word.lower(): word for word in (("0", "1") if column.kind == "flag" else column.words)}
    men, women = MEN & words.keys(), WOMEN & words.keys()
    if len(words) != 2 or len(men) != 1 or len(women) != 1:
        return ""
    return f"male: {_cell(words[men.pop()])}, female: {_cell(words[women.pop()])}"


def _input(column: ColumnSketch, *, has_visits: bool) -> str:
    """One line; what can't be an input is a comment."""
    kind = "rare" if column.kind == "words" and not column.words else column.kind
    why = _likely(column) or ("numbers rows: left out" if column.is_unique and column.is_whole else LEFT_OUT.get(kind))
    if why:
        return f"# {_said(column.name)} {why}"
    fields, guess = [f"column: {_said(column.name)}"], ""
    if re.search(r"[._]", column.name):
        fields.append(f"name: {_said(re.sub(r'[._]+', ' ', column.name).strip())}")
    if has_visits and column.is_constant:
        fields.append("static: true")
    if column.kind == "flag":
        fields.append("kind: flag")
    elif column.kind == "words":
        fields.append(_words(column))
        guess = f"   # and {column.n_rare} rare words: add them" if column.n_rare else ""
    else:
        fields += _number(column)
        guess = "   # guess: a scale; codes want categories" if column.words else ""
        guess = "   # guess: unit" if any(field.startswith("unit") for field in fields) else guess
    return f"- {{{', '.join(fields)}}}{guess}"


def _likely(column: ColumnSketch) -> str:
    """What a column of words seems to hold, and the fields that make it so; empty where it seems to hold words."""
    others = f" but for {column.n_odd} cells" if column.n_odd else ""
    marks = f"`missing: [{', '.join(map(_said, column.odd)) or '…'}]`"
    if column.likely == "dates":
        time = f"{{column: {_said(column.name)}, format: {_said(column.form)}}}"
        return f"holds dates{others}: left out; as a time {time}{f', and {marks}' if column.n_odd else ''}"
    if column.likely == "numbers":
        return f"holds numbers{others}: left out; if these were not recorded, declare {marks}"
    return (
        f"holds numbers with units{others}: left out; write them without, and `unit: …` here" if column.likely else ""
    )


def _words(column: ColumnSketch) -> str:
    spoken = {word.lower(): word for word in column.words}
    yes, no = AFFIRMED & spoken.keys(), DENIED & spoken.keys()
    if len(spoken) == 2 and len(yes) == len(no) == 1:
        return f"kind: flag, values: {{{_said(spoken[yes.pop()])}: 1, {_said(spoken[no.pop()])}: 0}}"
    return f"categories: {{{', '.join(f'{_said(word)}: {_said(word)}' for word in column.words)}}}"


def _number(column: ColumnSketch) -> Iterator[str]:
    """A step of a twentieth of the range, and a unit that name and size speak for."""
    spread = column.high - column.low
    step = 10.0 ** math.floor(math.log10(spread / 20)) if spread > 0 else 1.0
    step = max(step, 1.0) if column.is_whole else step
    if step != 1.0:
        yield f"step: {step:g}"
    for rule, unit, low, high in UNITS:
        if re.search(rule, column.name, re.IGNORECASE) and low <= column.middle <= high:
            yield f"unit: {_said(unit)}"
            return


def _said(text: str) -> str:
    """Text as YAML has it: quoted where it could be taken for something else."""
    is_plain = PLAIN.fullmatch(text) and text.lower() not in SPOKEN
    return text if is_plain else json.dumps(text, ensure_ascii=not text.isprintable())


def _cell(word: str) -> str:
    """A word, or the number that it is."""
    return word if re.fullmatch(r"-?\d+(\.\d+)?", word) else _said(word)
