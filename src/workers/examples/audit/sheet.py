"""Blinded annotation sheets: rationales drawn evenly over arms and labels, in an order of their own for each rater.

A sheet tells neither arm nor label; the key that does stays in the store. Participant data: private files.
"""

import io
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from workers.contract.answers.audit import (
    ANSWER_COLUMNS,
    ID_COLUMN,
    KEY_COLUMNS,
    SHEET_ITEMS,
    Part,
    SheetOrder,
    WrittenSheets,
)
from workers.contract.errors import InputError, Problem
from workers.contract.layout import StoreLayout
from workers.contract.recipes.teaching import Supervision
from workers.contract.system.durable import link_exclusive
from workers.contract.system.opening import open_store
from workers.examples.audit.claims import read_rationale
from workers.examples.audit.study import Written, read_written
from workers.store.private_files import refuse_shared_place, write_new

# Protocol 3.12.
N_TRAINING = 10
REPEATED_SHARE = 0.1


@dataclass(frozen=True)
class Drawn:
    """One rationale to be rated, and what its rater must not know."""

    number: int
    part: Part
    supervision: Supervision
    label_access: str
    has_event: bool
    facts: tuple[str, ...]
    claims: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A rationale at its place in a rater's sheet."""

    id: str
    rater: int
    part: Part
    drawn: Drawn


def write_sheets(order: SheetOrder) -> WrittenSheets:
    """Draw rationales and write a CSV to fill and a page to read for each rater, and the key.

    Raises:
        InputError: The folder is no fit place, or too few participants have rationales.
        StoreError: The rationales are not prepared, or damaged.
    """
    layout, out = open_store(Path(order.store)), Path(order.out)
    refuse_shared_place(out, option="--out", data_class=order.data_class or order.specs[0].cohort.kind.data_class)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(Problem("--out", f"{out} is not empty", "name a new folder; nothing is overwritten"))
    pool = read_written(order.specs, layout)
    drawn = draw(pool, n_rationales=order.n_rationales, seed=order.seed)
    n_rated = sum(one.part is Part.RATED for one in drawn)
    n_repeated = round(REPEATED_SHARE * n_rated)
    sheets = {
        rater: arrange(drawn, rater=rater, n_repeated=n_repeated, seed=order.seed)
        for rater in range(1, order.n_raters + 1)
    }
    files, key = _write(sheets, out, layout)
    return WrittenSheets(
        files=tuple(map(str, files)),
        key=str(key),
        n_rated=n_rated,
        n_training=len(drawn) - n_rated,
        n_repeated=n_repeated,
    )


def draw(pool: Sequence[Written], *, n_rationales: int, seed: int) -> list[Drawn]:
    """Training items and as many others, evenly over arms and labels, a participant at most once.

    An arm is a supervision and the teacher's access to labels. Where a stratum runs out, the others give more.

    Raises:
        InputError: There are fewer than one of each beside the training items.
    """
    chance = random.Random(f"sheet|{seed}")
    strata: dict[tuple[str, str, bool], list[tuple[Written, int]]] = {}
    for written in pool:
        for place, case in enumerate(written.cases):
            stratum = (written.supervision.value, written.teacher, case.has_event)
            strata.setdefault(stratum, []).append((written, place))
    for members in strata.values():
        chance.shuffle(members)
    chosen: list[tuple[Written, int]] = []
    seen: set[str] = set()
    while len(chosen) < N_TRAINING + n_rationales and any(strata.values()):
        for members in strata.values():
            while members:
                written, place = members.pop()
                subject = str(written.labels["subject_id"].iloc[place])
                if subject not in seen:
                    seen.add(subject)
                    chosen.append((written, place))
                    break
    chosen = chosen[: N_TRAINING + n_rationales]
    if len(chosen) <= N_TRAINING + len(strata):
        what = f"only {len(chosen)} participants have a rationale, {N_TRAINING} of them for training"
        raise InputError(Problem("rationales", what, "audit a study with a larger train split"))
    chance.shuffle(chosen)
    return [
        _drawn(written, place, number=number, part=Part.TRAINING if number <= N_TRAINING else Part.RATED)
        for number, (written, place) in enumerate(chosen, start=1)
    ]


def _drawn(written: Written, place: int, *, number: int, part: Part) -> Drawn:
    case, text = written.cases[place], written.texts[place]
    sentences = read_rationale(text, written.vocabulary).sentences
    return Drawn(
        number=number,
        part=part,
        supervision=written.supervision,
        label_access=written.label_access,
        has_event=case.has_event,
        facts=tuple(", ".join(filter(None, (fact.words, fact.when))) for fact in case.facts),
        claims=tuple(text[span.start : span.end] for span in sentences),
    )


def arrange(drawn: Sequence[Drawn], *, rater: int, n_repeated: int, seed: int) -> list[Row]:
    """A rater's order: training items first, then the others by lot; some of the first half return in the second."""
    chance = random.Random(f"rater|{seed}|{rater}")
    rated = [one for one in drawn if one.part is Part.RATED]
    chance.shuffle(rated)
    half = (len(rated) + 1) // 2
    later = [(one, Part.RATED) for one in rated[half:]]
    later += [(one, Part.REPEATED) for one in chance.sample(rated[:half], k=min(n_repeated, half))]
    chance.shuffle(later)
    first = [(one, one.part) for one in (*(one for one in drawn if one.part is Part.TRAINING), *rated[:half])]
    # Ids from the system's chance: whoever knows the seed can't link them.
    return [Row(secrets.token_hex(4), rater, part, one) for one, part in (*first, *later)]


def _write(sheets: Mapping[int, Sequence[Row]], out: Path, layout: StoreLayout) -> tuple[list[Path], Path]:
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = layout.audit_keys / f"{secrets.token_hex(4)}.csv"
    link_exclusive(key, _csv([_key_row(row) for rows in sheets.values() for row in rows], KEY_COLUMNS).encode())
    files = []
    for rater, rows in sheets.items():
        table, page = out / f"rater-{rater}.csv", out / f"rater-{rater}.html"
        columns = (ID_COLUMN, "participant", "rationale", *ANSWER_COLUMNS)
        write_new(table, _csv([_sheet_row(row) for row in rows], columns))
        write_new(page, render_page(rows))
        files += [table, page]
    return files, key


def _csv(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    text = io.StringIO()
    pd.DataFrame(rows).reindex(columns=list(columns), fill_value="").to_csv(text, index=False)
    return text.getvalue()


def _key_row(row: Row) -> dict[str, object]:
    return {
        ID_COLUMN: row.id,
        "rater": row.rater,
        "part": row.part.value,
        "rationale": row.drawn.number,
        "supervision": row.drawn.supervision.value,
        "label": int(row.drawn.has_event),
        "label_access": row.drawn.label_access,
    }


def _sheet_row(row: Row) -> dict[str, object]:
    claims = " ".join(f"[{number}] {claim}" for number, claim in enumerate(row.drawn.claims, start=1))
    return {ID_COLUMN: row.id, "participant": "; ".join(row.drawn.facts), "rationale": claims}


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Rationales to rate</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
article {{ border-top: 1px solid #ccc; padding: 1rem 0 }} h2 {{ font: 600 1rem ui-monospace, monospace }}
ul {{ columns: 2; padding-left: 1.2rem }} .note {{ color: #555 }} @media print {{ article {{ break-inside: avoid }} }}
</style></head><body><h1>Rationales to rate</h1>
<p>Read each rationale beside the facts that were recorded of its participant, then fill the row with the same id in the
CSV of the same name. 1 is not at all, 5 is entirely. The first {n_training} are for training. For research only;
participant data: keep this file to yourself.</p><ol>{items}</ol>{articles}</body></html>
"""


def render_page(rows: Sequence[Row]) -> str:
    """A page to read beside the CSV, in its order; it needs no other file."""
    items = "".join(
        f"<li><b>{item.name}</b> ({item.choices[0]}–{item.choices[-1]}): {escape(item.question)}</li>"
        if item.is_scale
        else f"<li><b>{item.name}</b> ({'/'.join(item.choices)}): {escape(item.question)}</li>"
        for item in SHEET_ITEMS
    )
    n_training = sum(row.part is Part.TRAINING for row in rows)
    return PAGE.format(n_training=n_training, items=items, articles="".join(map(_article, rows)))


def _article(row: Row) -> str:
    facts = "".join(f"<li>{escape(fact)}</li>" for fact in row.drawn.facts)
    claims = "".join(f"<li>{escape(claim)}</li>" for claim in row.drawn.claims)
    return (
        f"<article><h2>{row.id}</h2><p class='note'>Recorded</p><ul>{facts}</ul>"
        f"<p class='note'>Rationale</p><ol>{claims}</ol></article>"
    )
