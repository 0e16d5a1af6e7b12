"""A study's bundle: what a stranger finds out of it offline, and whom it does not tell of."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from orchestrator.analysis.checks.rules import RULES
from orchestrator.analysis.findings import Findings
from orchestrator.cli.main import app
from orchestrator.design.analysis_plan import plan_of
from orchestrator.design.grid import expand
from orchestrator.explain.bundle import FINDINGS, SCORES, BundleGrade, BundleManifest, make_bundle
from orchestrator.explain.bundle_check import check_bundle, unlike
from orchestrator.explain.leaving import MANIFEST, STORE, away
from orchestrator.launch.reporting import find_out
from orchestrator.store.dataset.committed import read_predictions
from orchestrator.store.outcomes import read_store
from orchestrator.store.sealing import Opening, open_scores, read_plan, seal_plan
from orchestrator.study.bases import StudyFolder, StudyGguf
from orchestrator.study.study import sealed_text
from support.places import REPOSITORY
from support.stores.builders import write_attempt
from support.stores.full import DESIGN, STUDY, full_store, rewrite
from workers.contract.data_class import DataClass
from workers.contract.errors import InputError, StoreError
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import file_digests
from workers.contract.trial import EndpointPlace

CONTROLLED = STUDY.model_copy(update={"cohort": STUDY.cohort.model_copy(update={"data_class": DataClass.CONTROLLED})})
STUDIES = {BundleGrade.PREDICTIONS: STUDY, BundleGrade.SCORES: CONTROLLED}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[BundleGrade, StoreLayout]:
    found = {}
    for grade, study in STUDIES.items():
        found[grade] = full_store(tmp_path_factory.mktemp(grade))
        found[grade].study.write_text(sealed_text(study))
        write_attempt(found[grade], DESIGN.trials[0], number=1)
        seal_plan(found[grade], plan_of(study, RULES))
        open_scores(found[grade], Opening.COMPLETE, n_done=19, n_trials=19)
    return found


@pytest.fixture(scope="module")
def bundles(
    stores: dict[BundleGrade, StoreLayout], tmp_path_factory: pytest.TempPathFactory
) -> dict[BundleGrade, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    for grade, layout in stores.items():
        make_bundle(STUDIES[grade], layout, folder / grade)
    return {grade: folder / grade for grade in stores}


@pytest.mark.parametrize("grade", BundleGrade)
def test_what_it_says_is_what_the_report_says_and_follows_from_its_files(
    grade: BundleGrade, stores: dict[BundleGrade, StoreLayout], bundles: dict[BundleGrade, Path]
) -> None:
    study, bundle = STUDIES[grade], bundles[grade]
    here = find_out(study, expand(study), stores[grade], read_store(stores[grade]))
    told = Findings.model_validate_json((bundle / FINDINGS).read_bytes())
    assert (told.answer, told.contrasts, told.verdict) == (here.answer, here.contrasts, here.verdict)
    if grade is BundleGrade.SCORES:  # scoring again takes a worker, whose libraries take seconds
        assert check_bundle(bundle).wrong == ()


@pytest.mark.parametrize("grade", BundleGrade)
def test_nobody_of_the_store_is_in_it(
    grade: BundleGrade, stores: dict[BundleGrade, StoreLayout], bundles: dict[BundleGrade, Path]
) -> None:
    some = read_store(stores[grade]).outcomes.committed[DESIGN.trials[0].trial_id]
    table = read_predictions(stores[grade], some)
    secrets = {*table["participant_id"].to_pylist(), *table["example_id"].to_pylist(), some.provenance.host}
    texts = [path.read_text(errors="replace") for path in bundles[grade].rglob("*") if path.is_file()]
    parquet = [str(pq.read_table(path).to_pydict()) for path in bundles[grade].rglob("*.parquet")]
    assert not [
        secret for secret in secrets for text in (*texts, *parquet) if f'"{secret}"' in text or f"'{secret}'" in text
    ]
    assert any("participant_id" in text for text in parquet) is (grade is BundleGrade.PREDICTIONS)


@pytest.mark.parametrize("grade", BundleGrade)
def test_neither_places_nor_machines_nor_accounts_of_the_house_are_in_it(
    grade: BundleGrade, stores: dict[BundleGrade, StoreLayout], bundles: dict[BundleGrade, Path]
) -> None:
    sealed = read_plan(stores[grade])
    assert sealed is not None and sealed.host and sealed.by
    places = {str(REPOSITORY).encode(), str(stores[grade].root).encode()}
    told = {path: path.read_bytes() for path in bundles[grade].rglob("*") if path.is_file()}
    assert not [path for path, body in told.items() if any(place in body for place in places)]
    records = [json.loads(body) for path, body in told.items() if path.suffix == ".json"]
    named = [value for record in records for name, value in every_field(record) if name in ("host", "by", "pid")]
    assert len(named) > 20 and not any(named)
    for path in (StoreLayout(bundles[grade] / "store").analysis_plan, StoreLayout(bundles[grade] / "store").unblinding):
        assert path in told


def every_field(record: object) -> Iterator[tuple[str, object]]:
    for name, value in record.items() if isinstance(record, dict) else ():
        yield name, value
        yield from every_field(value)


def test_a_base_and_an_endpoint_leave_their_places_behind_and_keep_their_digests() -> None:
    bases = {
        "folder": StudyFolder(kind="folder", folder=Path("/house/model"), sha256="a" * 64),
        "file": StudyGguf(kind="gguf", file="/house/model.gguf", sha256="b" * 64),
    }
    endpoint = EndpointPlace(base_url="http://10.0.0.7:8000/v1")
    study = STUDY.model_copy(update={"bases": bases, "endpoint": endpoint})
    left = away(study)
    assert "house" not in left.model_dump_json() and "10.0.0.7" not in left.model_dump_json()
    assert left.base_recipes == study.base_recipes and left.cohort.recipe == study.cohort.recipe


def seal_again(bundle: Path, **claims: object) -> None:
    """As somebody would who changed a file, or what the manifest says."""
    manifest = BundleManifest.model_validate_json((bundle / MANIFEST).read_bytes())
    files = {name: digest for name, digest in file_digests(bundle).items() if name != MANIFEST}
    (bundle / MANIFEST).write_text(manifest.model_copy(update={"files": files, **claims}).sealed().model_dump_json())


def say(bundle: Path, **other: object) -> None:
    said = json.loads((bundle / FINDINGS).read_text())
    (bundle / FINDINGS).write_text(json.dumps({**said, **other}))


def rescore(bundle: Path, auc: float | None) -> None:
    """The first trial gets another score, or is left out."""
    first, *others = pq.read_table(bundle / SCORES).to_pylist()
    kept = [] if auc is None else [{**first, "held_out/strict_auc": auc}]
    pq.write_table(pa.Table.from_pylist([*kept, *others]), bundle / SCORES)


@pytest.mark.parametrize(
    ("forge", "wrong"),
    [
        (lambda bundle: say(bundle, question="Another?"), "findings.json: question does not follow"),
        (lambda bundle: say(bundle, plan={"sealed_at": "2020-01-01T00:00:00+00:00"}), "plan.sealed_at does not follow"),
        (lambda bundle: (bundle / FINDINGS).write_text("{}"), r"is not what `sweep export` writes \(ValidationError\)"),
        (lambda bundle: (bundle / "replicates-strict.parquet").write_text("x"), r"\(ArrowInvalid\)"),
        (lambda bundle: (bundle / "replicates-strict.parquet").unlink(), r"\(KeyError\)"),
        (lambda bundle: rescore(bundle, 0.9), "scores.parquet: held_out/strict_auc of [0-9a-f]{16} is not that of fin"),
        (lambda bundle: rescore(bundle, 0.9), "of [0-9a-f]{16} is not that of the replicates"),
        (lambda bundle: rescore(bundle, None), "scores.parquet: is of other trials"),
        (lambda bundle: seal_again(bundle, study="another"), "bundle.json: study is"),
        (lambda bundle: seal_again(bundle, data_class=DataClass.PUBLIC), "bundle.json: data_class is controlled"),
    ],
)
def test_what_was_forged_with_all_checksums_made_again_is_named(
    forge: Callable[[Path], object], wrong: str, bundles: dict[BundleGrade, Path], tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(bundles[BundleGrade.SCORES], tmp_path / "forged"))
    assert check_bundle(bundle).wrong == ()
    forge(bundle)
    seal_again(bundle)
    assert re.search(wrong, "; ".join(check_bundle(bundle).wrong))


def test_a_number_that_was_changed_with_all_checksums_made_again_is_found(
    bundles: dict[BundleGrade, Path], tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(bundles[BundleGrade.SCORES], tmp_path / "forged"))
    said = json.loads((bundle / FINDINGS).read_text())
    said["contrasts"][0]["layers"][0]["strict"]["high"] = 0.5
    (bundle / FINDINGS).write_text(json.dumps(said))
    assert check_bundle(bundle).wrong == (f"{FINDINGS}: is not what was written",)
    seal_again(bundle)
    (wrong,) = check_bundle(bundle).wrong
    assert "contrasts[0].layers[0].strict.high does not follow" in wrong


def test_an_older_bundle_need_not_say_what_is_found_today(bundles: dict[BundleGrade, Path], tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(bundles[BundleGrade.SCORES], tmp_path / "older"))
    said = json.loads((bundle / FINDINGS).read_text())
    (bundle / FINDINGS).write_text(json.dumps({name: found for name, found in said.items() if name != "comparators"}))
    seal_again(bundle)
    assert check_bundle(bundle).wrong == ()


def test_a_file_more_or_less_a_link_and_another_folder_are_refused_in_a_sentence(
    bundles: dict[BundleGrade, Path], tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(bundles[BundleGrade.SCORES], tmp_path / "changed"))
    (bundle / "more").write_text("")
    (bundle / "scores.parquet").unlink()
    assert {line.split(":")[0] for line in check_bundle(bundle).wrong} == {"more", "scores.parquet"}
    os.mkfifo(bundle / "pipe")
    (bundle / "empty").mkdir()
    assert {"pipe: is in no bundle", "empty: is in no bundle"} < set(check_bundle(bundle).wrong)
    (bundle / "link").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="link"):
        check_bundle(bundle)
    (bundle / "link").unlink()
    (bundle / MANIFEST).write_text("{}")
    with pytest.raises(InputError, match="damaged, or of another version"):
        check_bundle(bundle)


def test_closed_scores_an_empty_store_and_a_folder_that_is_there_give_no_bundle(
    stores: dict[BundleGrade, StoreLayout], tmp_path: Path
) -> None:
    layout = StoreLayout(Path(shutil.copytree(stores[BundleGrade.SCORES].root, tmp_path / "store")))
    with pytest.raises(InputError, match="name a new folder"):
        make_bundle(CONTROLLED, layout, tmp_path)
    with pytest.raises(InputError, match="lies in the store"):
        make_bundle(CONTROLLED, layout, layout.root / "inside")
    layout.unblinding.unlink()
    with pytest.raises(InputError, match="closed"):
        make_bundle(CONTROLLED, layout, tmp_path / "new")
    layout.analysis_plan.unlink()
    outcome = layout.outcome(DESIGN.trials[0].trial_id)
    whole = outcome.read_bytes()
    outcome.write_bytes(whole[:100])
    with pytest.raises(StoreError, match=r"outcome.json: .*unreadable outcome.*--quarantine"):
        make_bundle(CONTROLLED, layout, tmp_path / "new")
    outcome.write_bytes(whole)
    rewrite(next(outcome.parent.glob("*/predictions.parquet")), lambda body: body[:-1])
    with pytest.raises(StoreError, match=f"{outcome.parent.name}: .*checksum"):
        make_bundle(CONTROLLED, layout, tmp_path / "new")
    shutil.rmtree(layout.trials)
    with pytest.raises(InputError, match="no trial yet"):
        make_bundle(CONTROLLED, layout, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_commands_write_and_check_one(stores: dict[BundleGrade, StoreLayout], tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    made = CliRunner().invoke(app, ["export", str(stores[BundleGrade.SCORES].root), "--to", str(bundle)])
    assert made.exit_code == 0 and f"sweep verify {bundle}" in made.stdout
    checked = CliRunner().invoke(app, ["verify", str(bundle), "--json"])
    facts = json.loads(checked.stdout)
    assert (facts["exit_code"], facts["wrong"]) == (0, [])
    assert facts["rebuilt"] == ["contrasts", "comparators", "answer", "verdict"]
    for option in (["--retrain", "1"], ["--quarantine"]):
        refused = CliRunner().invoke(app, ["verify", str(bundle), *option])
        assert refused.exit_code != 0 and "is a bundle: nothing of it" in str(refused.exception)
    (bundle / SCORES).unlink()
    asked = CliRunner().invoke(app, ["query", str(bundle), "select 1"])
    assert isinstance(asked.exception, InputError) and "is a bundle; `sweep verify " in str(asked.exception)
    failed = json.loads(CliRunner().invoke(app, ["verify", str(bundle), "--json"]).stdout)
    assert (failed["exit_code"] != 0, len(failed["wrong"]), failed["rebuilt"]) == (True, 1, [])


@pytest.mark.parametrize("folder", [".", STORE])
@pytest.mark.parametrize(
    "command", [["report"], ["sync"], ["prepare"], ["query", "select 1"], ["verify", "--quarantine"]]
)
def test_no_command_adds_to_one(bundles: dict[BundleGrade, Path], folder: str, command: list[str]) -> None:
    for bundle in bundles.values():
        before = file_digests(bundle)
        name, *rest = command
        asked = CliRunner().invoke(app, [name, str(bundle / folder), *rest])
        assert isinstance(asked.exception, InputError) and f"{bundle}: is a bundle" in str(asked.exception)
        assert file_digests(bundle) == before


def test_rounding_is_no_difference() -> None:
    one = {"a": [1.0, {"b": "c"}], "d": None}
    assert [*unlike(one, {"a": [1.0 + 1e-9, {"b": "c"}], "d": None})] == []
    assert [*unlike(one, {"a": [1.1, {"b": "e"}], "d": 1})] == ["a[0]", "a[1].b", "d"]
