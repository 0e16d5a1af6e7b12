"""`sweep audit`: from a store's rationales to a table, blinded sheets and the agreement of who filled them."""

import json
import shutil
import stat
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from orchestrator.audit.automatic import shown_audit
from orchestrator.audit.note import AWAITING, audit_note
from orchestrator.cli.main import app
from orchestrator.design.grid import expand
from orchestrator.study.study import load_study
from support.studies.micro_study import write_study
from workers.contract.answers.audit import ANSWER_COLUMNS, SHEET_ITEMS, AuditFindings, Measure, RationaleAudit, Tally
from workers.contract.data_class import DataClass
from workers.contract.errors import InputError
from workers.contract.layout import StoreLayout
from workers.contract.recipes.teaching import Supervision
from workers.store.private_files import refuse_shared_place

N_RATED = 24


def sweep(*arguments: object) -> str:
    """What the command printed; an error of ours is raised."""
    return CliRunner().invoke(app, ["audit", *map(str, arguments)], catch_exceptions=False).output


@pytest.fixture(scope="module")
def study(prepared_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file beside a store that holds its inputs and its sealed study."""
    folder = tmp_path_factory.mktemp("audited")
    path = write_study(folder)
    store = Path(shutil.copytree(prepared_store, folder / "store" / "micro"))
    StoreLayout(store).study.write_text(load_study(path).model_dump_json())
    return path


@pytest.fixture(scope="module")
def layout(study: Path) -> StoreLayout:
    return StoreLayout(study.parent / "store" / "micro")


@pytest.fixture(scope="module")
def printed(study: Path) -> str:
    return sweep("run", study, "--store", study.parent / "store")


@pytest.fixture(scope="module")
def written(study: Path) -> dict[str, object]:
    out = study.parent / "sheets"
    text = sweep("sheet", study, "--store", study.parent / "store", "--n", N_RATED, "--out", out, "--json")
    answer: dict[str, object] = json.loads(text)
    return answer


def fill(path: Path, *, score: str = "4") -> None:
    sheet = pd.read_csv(path, dtype=str, keep_default_na=False)
    for item in SHEET_ITEMS:
        sheet[item.name] = [score if item.is_scale and row % 3 else item.choices[0] for row in range(len(sheet))]
    sheet.to_csv(path, index=False)


def test_the_table_and_its_file_hold_shares_and_no_text(printed: str, layout: StoreLayout) -> None:
    assert "grounding precision" in printed
    stored = layout.audit.read_text()
    rows = json.loads(stored)["rows"]
    assert [row["supervision"] for row in rows] == ["free_form", "step_by_step"]
    assert {row["shares"]["supported"]["value"] for row in rows} == {1.0}
    assert stat.S_IMODE(layout.audit.stat().st_mode) == 0o600
    assert not any(word in stored for word in ("woman", "pressure", "diabetes", "Overall"))


def test_a_study_without_prepared_rationales_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run `sweep run` first"):
        sweep("run", write_study(tmp_path), "--store", tmp_path)


def test_small_counts_of_participants_never_reach_the_file() -> None:
    def audited(n: int, n_participants: int) -> RationaleAudit:
        tally = Tally(n=n, total=1000, n_participants=n_participants, n_other_participants=400)
        return RationaleAudit(
            supervision=Supervision.FREE_FORM,
            teacher="t",
            label_access="blind",
            n_rationales=500,
            n_participants=400,
            tallies=dict.fromkeys(Measure, tally),
            claims={"fact": 1000, "vague": 3},
            words=9.0,
            words_per_sentence=9.0,
            self_bleu=0.5,
        )

    findings = AuditFindings(audits=(audited(3, 2), audited(60, 40)))
    few, many = shown_audit(findings, study="s", data_class=DataClass.PUBLIC, min_cell=5).rows
    assert few.shares[Measure.LEAKING].is_hidden
    assert few.shares[Measure.LEAKING].value is None
    assert few.claims == {"fact": 1000}
    assert many.shares[Measure.LEAKING].value == pytest.approx(0.06)


def test_sheets_are_private_and_say_neither_arm_nor_label(written: dict[str, object]) -> None:
    files = [Path(file) for file in written["files"]]  # type: ignore[attr-defined]
    assert [file.name for file in files] == ["rater-1.csv", "rater-1.html", "rater-2.csv", "rater-2.html"]
    for file in (*files, Path(str(written["key"]))):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for file in files:
        text = file.read_text()
        assert not any(word in text for word in ("free_form", "step_by_step", "label_only", "Answer:", "blind"))
    columns = list(pd.read_csv(files[0], dtype=str))
    assert columns == ["id", "participant", "rationale", *ANSWER_COLUMNS]


def test_each_rater_has_an_order_and_ids_of_their_own_training_first_repeats_last(written: dict[str, object]) -> None:
    key = pd.read_csv(str(written["key"]))
    assert key["id"].is_unique
    orders = []
    for _, mine in key.groupby("rater"):
        parts = mine["part"].tolist()
        assert parts[:10] == ["training"] * 10
        assert parts.count("rated") == N_RATED
        assert parts.count("repeated") == written["n_repeated"] == 2
        first = mine[mine["part"] == "rated"].set_index("rationale").index.tolist()
        again = mine.reset_index()[lambda rows: rows["part"] == "repeated"]
        assert (again.index >= 10 + N_RATED // 2).all()
        assert set(again["rationale"]) <= set(first[: N_RATED // 2])
        orders.append(first)
    assert orders[0] != orders[1]
    assert set(orders[0]) == set(orders[1])


def test_rationales_are_drawn_evenly_over_arms_and_labels(written: dict[str, object]) -> None:
    key = pd.read_csv(str(written["key"])).query("rater == 1 and part != 'repeated'")
    strata = key.groupby(["supervision", "label"]).size()
    assert len(strata) == 4
    assert strata.max() - strata.min() <= 1


def test_the_page_numbers_claims_and_needs_no_other_file(written: dict[str, object]) -> None:
    files = [Path(file) for file in written["files"]]  # type: ignore[attr-defined]
    page, sheet = files[1].read_text(), pd.read_csv(files[0], dtype=str)
    assert page.count("<article>") == len(sheet) == 10 + N_RATED + 2
    assert not any(mark in page for mark in ("src=", "href=", "<script"))
    places = [page.index(f"<h2>{one}</h2>") for one in sheet["id"]]
    assert places == sorted(places)
    assert sheet["rationale"].str.startswith("[1] ").all()


def test_real_records_are_not_written_where_they_could_be_committed(study: Path, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(InputError, match="git work tree"):
        sweep("sheet", study, "--store", study.parent / "store", "--out", tmp_path / "sheets")
    assert not (tmp_path / "sheets").exists()
    refuse_shared_place(tmp_path / "sheets", option="--out", data_class=DataClass.SYNTHETIC)


def test_agreement_is_awaited_until_sheets_are_filled_then_flows_into_the_report(
    study: Path, layout: StoreLayout, printed: str, written: dict[str, object]
) -> None:
    design = expand(load_study(study))
    before = audit_note(design, layout)
    assert printed
    assert before is not None
    assert before.statement.startswith(AWAITING)
    files = [Path(file) for file in written["files"] if str(file).endswith("csv")]  # type: ignore[attr-defined]
    for file, score in zip(files, ("4", "5"), strict=True):
        fill(file, score=score)
    text = sweep("agree", *files, "--key", written["key"])
    assert f"2 raters, {N_RATED} rationales" in text
    assert layout.agreement.is_file()
    after = audit_note(design, layout)
    assert after is not None
    assert AWAITING not in after.statement
    assert len(after.measures) > len(before.measures)
    assert any("AC2" in measure.detail for measure in after.measures)
