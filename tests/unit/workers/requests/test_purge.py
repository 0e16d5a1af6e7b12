"""A purge removes every participant from a store, and finds what was left of one, wherever that lies."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from html import escape
from pathlib import Path

import pandas as pd
import pytest

from support.studies.orders import micro_spec, order_of
from workers.attempt.runner import Runner
from workers.contract.answers.purge import Proof, PurgeFindings, PurgeOrder
from workers.contract.errors import StoreError
from workers.contract.layout import StoreLayout
from workers.contract.recipes.teaching import Supervision
from workers.requests.identifying import SPAN_CHARACTERS, identify, spans_of
from workers.requests.purge import purge
from workers.requests.searching import fold

SPEC = micro_spec(Supervision.FREE_FORM)


@pytest.fixture(scope="module")
def trained(prepared_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one committed trial; copy it before writing."""
    store = Path(shutil.copytree(prepared_store, tmp_path_factory.mktemp("purge") / "store"))
    for _ in Runner(n_threads=1).run(order_of(SPEC, store)):
        pass
    return store


@pytest.fixture
def layout(trained: Path, tmp_path: Path) -> StoreLayout:
    layout = StoreLayout(Path(shutil.copytree(trained, tmp_path / "store")))
    layout.report.write_text("<html>AUC 0.7</html>")
    return layout


def purged(layout: StoreLayout, **order: object) -> PurgeFindings:
    return purge(PurgeOrder.model_validate({"store": str(layout.root), **order}))


def proof_of(layout: StoreLayout, **order: object) -> Proof:
    proof = purged(layout, **order).proof
    assert proof is not None
    return proof


def labels_of(layout: StoreLayout) -> pd.DataFrame:
    return pd.read_parquet(next(layout.inputs.glob("*/*/labels.parquet")))


def test_who_is_in_a_store_is_known_by_identifier_pseudonym_and_text(layout: StoreLayout) -> None:
    subjects = set(labels_of(layout)["subject_id"])
    identity = identify(layout)
    assert identity.identifiers == {name for name in subjects if len(name) >= 5}
    assert identity.n_short == len({name for name in subjects if len(name) < 5})
    outcome = json.loads(layout.outcome(SPEC.trial_id).read_text())
    predictions = pd.read_parquet(layout.trial(SPEC.trial_id) / outcome["attempt"] / "predictions.parquet")
    assert {*predictions["example_id"], *predictions["participant_id"]} <= identity.pseudonyms
    assert len(identity.spans) > 1000
    assert identity.unread == []


def test_what_is_left_holds_nobody_and_the_proof_says_what_was_looked_for(layout: StoreLayout) -> None:
    subjects = set(labels_of(layout)["subject_id"])
    proof = proof_of(layout)
    assert proof.holds
    assert (proof.n_identifiers + proof.n_short, proof.hits) == (len(subjects), {})
    assert proof.n_pseudonyms > len(subjects) and proof.n_spans > 1000
    assert {path.name for path in layout.root.iterdir()} == {"leases", "logs", "report.html"}


def test_what_tells_who_they_are_goes_last_so_that_a_purge_can_be_done_again(layout: StoreLayout) -> None:
    assert list(purged(layout).removed) == ["trials", "inputs", ".salt"]


Leak = Callable[[StoreLayout, str, str, str], Path]


def into_a_log(layout: StoreLayout, subject: str, pseudonym: str, text: str) -> Path:
    path = next(layout.root.glob("logs/*/*.log"))
    path.write_text(path.read_text() + f"no value for {subject}, skipped\n")
    return path


def into_the_report(layout: StoreLayout, subject: str, pseudonym: str, text: str) -> Path:
    layout.report.write_text(f"<td>{escape(text.upper())}</td>")
    return layout.report


def into_an_attempt(layout: StoreLayout, subject: str, pseudonym: str, text: str) -> Path:
    path = layout.attempts("0" * 16) / "1.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"detail": f"example {pseudonym} is damaged"}))
    return path


def into_tracking(layout: StoreLayout, subject: str, pseudonym: str, text: str) -> Path:
    with sqlite3.connect(layout.tracking_database) as database:
        database.execute("create table tags (value)")
        database.execute("insert into tags values (?)", [subject])
    database.close()
    return layout.tracking_database


def into_a_file_of_somebody(layout: StoreLayout, subject: str, pseudonym: str, text: str) -> Path:
    path = layout.root / "notes" / "mine.parquet"
    path.parent.mkdir()
    pd.DataFrame({"x": [text]}).to_parquet(path)
    return path


def into_a_name(layout: StoreLayout, subject: str, pseudonym: str, text: str) -> Path:
    path = layout.root / "quarantine" / f"{subject}.json"
    path.parent.mkdir()
    path.touch()
    return path


LEAKS = [into_a_log, into_the_report, into_an_attempt, into_tracking, into_a_file_of_somebody, into_a_name]


def test_one_participant_left_anywhere_is_found_and_only_the_place_is_told(layout: StoreLayout) -> None:
    subject = next(name for name in labels_of(layout)["subject_id"] if len(name) >= 5)
    pseudonym = pd.read_parquet(next(layout.trials.glob("*/*/predictions.parquet")))["example_id"][0]
    texts = next(path for path in layout.inputs.glob("*/*/texts.parquet") if "prompt" in pd.read_parquet(path))
    prompts = list(pd.read_parquet(texts)["prompt"])
    span = next(iter(spans_of(prompts)))
    text = next(prompt for prompt in prompts if span in fold(prompt))
    places = {str(leak(layout, subject, pseudonym, text).relative_to(layout.root)) for leak in LEAKS}
    named = {f"quarantine/{subject}.json": "a name in quarantine"}
    answer = purged(layout)
    assert answer.proof is not None
    assert answer.proof.hits == {named.get(place, place): 1 for place in places}
    assert not answer.proof.holds
    assert not any(secret in answer.model_dump_json() for secret in (subject, pseudonym, text))


def test_a_database_elsewhere_is_searched_too(layout: StoreLayout, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    elsewhere.write_text(next(name for name in labels_of(layout)["subject_id"] if len(name) >= 5))
    assert list(proof_of(layout, databases=[str(elsewhere)]).hits) == [str(elsewhere)]


def test_predictions_that_nobody_can_read_leave_the_proof_open(layout: StoreLayout) -> None:
    damaged = next(layout.trials.glob("*/*/predictions.parquet"))
    damaged.write_bytes(b"PAR1 torn")
    proof = proof_of(layout)
    assert proof.unread == (str(damaged.relative_to(layout.root)),)
    assert not proof.holds
    assert not layout.trials.exists()


def test_a_part_that_is_a_link_is_refused_before_anything_goes(layout: StoreLayout, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    layout.inputs.rename(elsewhere)
    layout.inputs.symlink_to(elsewhere)
    with pytest.raises(StoreError, match="inputs: is a link"):
        purged(layout)
    assert layout.outcome(SPEC.trial_id).is_file() and any(elsewhere.iterdir())


def test_a_span_is_of_one_text_alone() -> None:
    shared = "the question that everybody is asked, word for word, in each and every single prompt"
    texts = [f"{name} lives with two dogs and a cat by the mill near Yew. {shared}" for name in ("Ann", "Bo", "Cy")]
    alone = spans_of(texts)
    assert all(sum(span in fold(text) for text in texts) == 1 for span in alone)
    assert {len(span) for span in alone} <= {SPAN_CHARACTERS}
    assert spans_of([texts[0], texts[0], "short"]) == set()
