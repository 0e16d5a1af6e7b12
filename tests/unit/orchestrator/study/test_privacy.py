"""What a study says of privacy: the class of its cohort and what follows from it, and addresses without credentials."""

import json
from pathlib import Path

import pytest

from orchestrator.design.grid import expand
from orchestrator.study.study import Study, load_sealed, load_study
from workers.contract.data_class import RULES, DataClass
from workers.contract.errors import InputError

SHA = "0f" * 32
SECRET = "s3cretKey"
STUDY = """\
study: small
question: Does it read?
cohort: {cohort}
prompt: {{template: {template}}}
teacher: {{kind: endpoint, model: m}}
endpoint: {endpoint}
bases: {{tiny-llama: {{kind: builtin, recipe: tiny_llama}}}}
axes: {{supervision: [label_only], base: [tiny-llama], train_size: [64], learning_rate: [1e-3], seed: [1]}}
training: {{steps: 20, batch_size: 8}}
"""
SYNTHETIC = "source: synthetic_adrd"
FRAMINGHAM = f"source: framingham, file: people.csv, sha256: {SHA}"
MEDS = f"source: meds, folder: meds, sha256: {SHA}, labels: l, question: 'Will it be?'"
LOCAL = "base_url: http://127.0.0.1:8000/v1"


def load(folder: Path, cohort: str, endpoint: str = LOCAL) -> Study:
    template = "exam_summary" if "framingham" in cohort else "history"
    path = folder / "study.yaml"
    path.write_text(STUDY.format(cohort=f"{{{cohort}}}", template=template, endpoint=f"{{{endpoint}}}"))
    return load_study(path)


class TestDataClass:
    @pytest.mark.parametrize(
        ("cohort", "data_class", "min_cell"),
        [
            (SYNTHETIC, DataClass.SYNTHETIC, 0),
            (FRAMINGHAM, DataClass.PUBLIC, 5),
            (MEDS, DataClass.CONTROLLED, 20),
            (f"{MEDS}, data_class: public", DataClass.PUBLIC, 5),
            (f"{MEDS}, data_class: synthetic", DataClass.SYNTHETIC, 0),
            (f"{SYNTHETIC}, data_class: controlled", DataClass.CONTROLLED, 20),
            (f"{FRAMINGHAM}, min_cell: 11", DataClass.PUBLIC, 11),
            (f"{MEDS}, data_class: controlled, min_cell: 0", DataClass.CONTROLLED, 0),
        ],
    )
    def test_it_is_the_usual_one_of_the_source_unless_said_and_min_cell_follows_unless_said(
        self, tmp_path: Path, cohort: str, data_class: DataClass, min_cell: int
    ) -> None:
        study = load(tmp_path, cohort)
        assert (study.cohort.data_class, study.cohort.min_cell) == (data_class, min_cell)
        assert Study.model_validate_json(study.model_dump_json()) == study

    def test_people_who_lived_are_not_called_invented(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"cohort.data_class: synthetic is not public or controlled"):
            load(tmp_path, f"{FRAMINGHAM}, data_class: synthetic")

    def test_it_is_no_part_of_an_id_and_a_study_that_is_silent_is_sealed_as_it_always_was(self, tmp_path: Path) -> None:
        silent, said = load(tmp_path, FRAMINGHAM), load(tmp_path, f"{FRAMINGHAM}, data_class: controlled, min_cell: 5")
        assert expand(silent).by_id.keys() == expand(said).by_id.keys()
        assert silent.cohort.digest() == said.cohort.digest() == said.cohort.recipe.digest()
        assert "data_class" not in json.loads(silent.model_dump_json())["cohort"]
        assert json.loads(said.model_dump_json())["cohort"]["data_class"] == "controlled"

    @pytest.mark.parametrize(
        ("cohort", "said", "may_leave"),
        [
            (SYNTHETIC, "", True),
            (SYNTHETIC, ", allow_remote: false", False),
            (FRAMINGHAM, "", False),
            (MEDS, "", False),
            (MEDS, ", allow_remote: true", True),
            (f"{SYNTHETIC}, data_class: controlled", "", False),
        ],
    )
    def test_records_leave_for_an_endpoint_only_if_invented_or_explicitly_allowed(
        self, tmp_path: Path, cohort: str, said: str, may_leave: bool
    ) -> None:
        endpoint = load(tmp_path, cohort, LOCAL + said).endpoint
        assert endpoint is not None
        assert endpoint.allow_remote is may_leave

    def test_only_adapters_of_controlled_cohorts_are_checked_before_they_leave(self) -> None:
        assert [name for name, rules in RULES.items() if rules.adapters_are_checked] == [DataClass.CONTROLLED]
        assert RULES.keys() == set(DataClass)


class TestCredentials:
    @pytest.mark.parametrize(
        "address",
        [
            f"https://user:{SECRET}@teacher.example/v1",
            f"https://{SECRET}@teacher.example/v1",
            f"https://user:pass/{SECRET}@teacher.example/v1",
            f"https://teacher.example/v1?api_key={SECRET}",
            f"https://teacher.example/v1#{SECRET}",
            f"ftp://user:{SECRET}@teacher.example/v1",
            f"ftp://teacher.example/v1?key={SECRET}",
        ],
    )
    def test_an_address_with_credentials_is_refused_by_name_and_never_shown(self, tmp_path: Path, address: str) -> None:
        with pytest.raises(InputError) as refused:
            load(tmp_path, FRAMINGHAM, f'base_url: "{address}"')
        (problem,) = refused.value.problems
        assert (problem.line, problem.where) == (6, "endpoint.base_url")
        assert "environment variable" in problem.remedy or "ftp" in problem.what
        assert SECRET not in str(refused.value)

    def test_a_key_in_place_of_a_variables_name_is_refused_and_never_shown(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="never the key") as refused:
            load(tmp_path, FRAMINGHAM, f"{LOCAL}, api_key_variable: sk-{SECRET}")
        assert SECRET not in str(refused.value)

    def test_a_study_that_was_sealed_with_credentials_names_the_way_out(self, tmp_path: Path) -> None:
        sealed = json.loads(load(tmp_path, FRAMINGHAM).model_dump_json())
        sealed["endpoint"]["base_url"] = f"https://user:{SECRET}@teacher.example/v1"
        (tmp_path / "study.json").write_text(json.dumps(sealed))
        with pytest.raises(
            InputError, match=r"endpoint.base_url of its sealed study holds a user.*in the study file"
        ) as refused:
            load_sealed(tmp_path / "study.json")
        assert SECRET not in str(refused.value)
