"""`sweep cohort init`: from tables as they are published to a study that is read, once a person filled the rest."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestrator.cli.views.draft import draft
from orchestrator.study.cohort import load_study_cohort
from orchestrator.study.study import load_study
from support.cohorts.meds_folders import TASK, write_crowd
from support.launches.command_line import sweep_here
from support.places import FRAMINGHAM
from workers.cohort.cohort import Cohort
from workers.cohort.framingham import FORBIDDEN_COLUMNS
from workers.cohort.sources import read_cohort
from workers.cohort.tables.sketch import look
from workers.contract.answers.findings import DraftQuestion
from workers.contract.errors import InputError
from workers.contract.system.sources import digest_of_place

N = 150


def drafted(place: Path) -> str:
    return draft(place, look(DraftQuestion(place=place)), digest=digest_of_place(place))


def filled(text: str, folder: Path, **answers: str) -> Path:
    """The draft with what it asks for."""
    asked = {"outcome": "outcome: {flag: , time: }", "horizon_days": "horizon_days:"}
    lines = []
    for line in text.splitlines():
        bare = line.split("#")[0].strip()
        name = next((name for name, ask in asked.items() if bare == ask), None)
        if bare == "question:":
            line = line.replace("question:", 'question: "Dead?"', 1)
        elif name:
            line = f"{line[: len(line) - len(line.lstrip())]}{name}: {answers[name]}"
        lines.append(line)
    path = folder / "study.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def read(path: Path) -> Cohort:
    study = load_study(path)
    return read_cohort(study.cohort.recipe, study.cohort.place)


def registry(generator: np.random.Generator) -> pd.DataFrame:
    """As the trials in primary biliary cirrhosis are published: years, words, one row a participant."""
    return pd.DataFrame(
        {
            "sno.": range(1, N + 1),
            "years": generator.uniform(0.1, 9, N).round(3),
            "status": generator.choice(["alive", "dead", "transplanted"], N),
            "drug": generator.choice(["placebo", "D-penicil"], N),
            "sex": generator.choice(["male", "female"], N),
            "age": generator.uniform(30, 80, N).round(1),
            "spiders": generator.choice(["Yes", "No"], N),
            "serBilir": generator.uniform(0.3, 9, N).round(1),
            "note": [f"canary {n}" for n in range(N)],
            "centre": ["canary", *["main"] * (N - 1)],
        }
    )


def visits(generator: np.random.Generator) -> pd.DataFrame:
    """The same, a row a visit, years since the first one, with an age at entry."""
    table = registry(generator).assign(id=range(100, 100 + N)).drop(columns=["note", "centre"])
    table = table.loc[table.index.repeat(3)].reset_index(drop=True)
    n = table.groupby("id").cumcount()
    table = table.assign(year=n * 0.5, years=table["years"] + 1, **{"sno.": range(1, 3 * N + 1)})
    return table.assign(serBilir=(table["serBilir"] + n * generator.uniform(0, 1, 3 * N)).round(1))


def intervals(generator: np.random.Generator) -> pd.DataFrame:
    """As the Stanford heart transplants are published: start, stop, a flag at the end of the last row."""
    wait = generator.integers(1, 60, N)
    before = pd.DataFrame({"start": 0, "stop": wait, "event": 0, "transplant": 0, "id": range(N)})
    stop = wait + generator.integers(1, 900, N)
    died = generator.integers(0, 2, N)
    after = pd.DataFrame({"start": wait, "stop": stop, "event": died, "transplant": 1, "id": range(N)})
    return pd.concat([before, after]).assign(surgery=lambda rows: rows["id"] % 2)


class TestPublishedTables:
    def test_years_and_words_in_one_row_a_participant(self, tmp_path: Path) -> None:
        table = registry(np.random.default_rng(1)).drop(columns="centre")
        table.to_csv(tmp_path / "pbc.csv", index=False)
        time = "{column: years, unit: years}"
        outcome = f"{{flag: status, equals: dead, competing: [transplanted], lost: [alive], time: {time}}}"
        cohort = read(filled(drafted(tmp_path / "pbc.csv"), tmp_path, outcome=outcome, horizon_days="731"))
        status, days = table["status"], table["years"] * 365.25
        assert cohort.flow.n_events == int(((status == "dead") & (days <= 731)).sum())
        assert cohort.flow.excluded["lost before the horizon"] == int(((status == "alive") & (days < 731)).sum())
        assert set(cohort.events["code"]) == {"AGE", "SEX", "drug=placebo", "drug=D-penicil", "spiders", "serBilir"}

    def test_an_age_in_months_is_not_taken_for_years(self, tmp_path: Path) -> None:
        table = registry(np.random.default_rng(1)).assign(age=lambda table: table["age"] * 12)
        table.to_csv(tmp_path / "channing.csv", index=False)
        text = drafted(tmp_path / "channing.csv")
        assert "guess: years" not in text
        assert "{column: age" in text

    def test_a_date_of_death_may_be_the_outcome(self, tmp_path: Path) -> None:
        table = registry(np.random.default_rng(1)).drop(columns="status").assign(died="2012-03-01")
        table.loc[::2, "died"] = None
        table.to_csv(tmp_path / "extract.csv", index=False)
        assert "Outcome candidates: died (a date: as flag and as time)." in drafted(tmp_path / "extract.csv")

    def test_visits_in_years(self, tmp_path: Path) -> None:
        visits(np.random.default_rng(2)).to_csv(tmp_path / "pbcseq.csv", index=False, sep=";", decimal=",")
        text = drafted(tmp_path / "pbcseq.csv")
        assert all(line in text for line in ("id: id ", "time: year ", "clock: years ", 'decimal: ","'))
        outcome = "{flag: status, one_of: [dead, transplanted], lost: [alive], time: years}"
        cohort = read(filled(text, tmp_path, outcome=outcome, horizon_days="365"))
        assert cohort.flow.n_candidates == N
        assert cohort.lexicon is not None
        assert {"age", "serBilir"} <= set(cohort.lexicon.by_code)

    def test_intervals(self, tmp_path: Path) -> None:
        table = intervals(np.random.default_rng(3))
        table.to_parquet(tmp_path / "heart.parquet")
        text = drafted(tmp_path / "heart.parquet")
        assert all(line in text for line in ("time: start ", "stop: stop ", "clock: days "))
        cohort = read(filled(text, tmp_path, outcome="{flag: event}", horizon_days="90"))
        last = table.groupby("id").agg({"stop": "max", "event": "max"})
        assert cohort.flow.n_events == int(((last["event"] == 1) & (last["stop"] <= 90)).sum())

    def test_events_in_rows(self, tmp_path: Path) -> None:
        generator = np.random.default_rng(4)
        who = np.repeat(np.arange(N), 4)
        codes, seen = np.tile(["URATE", "VISIT", "SCAN", "M10"], N), generator.integers(0, 300, 4 * N)
        table = pd.DataFrame({"patient_id": who, "date": pd.Timestamp("2001-01-01") + pd.to_timedelta(seen, unit="D")})
        table = table.assign(code=codes, value=np.where(codes == "URATE", seen % 9, np.nan))
        table.loc[0, "code"] = "canary"
        table.to_csv(tmp_path / "events.csv", index=False)
        text = drafted(tmp_path / "events.csv")
        assert "canary" not in text
        assert all(
            line in text for line in ("shape: long", "id: patient_id ", "time: date ", "clock: dates ", "value: value ")
        )
        text = text.replace("outcome: {codes: }", "outcome: {codes: [M10]}").replace("- {code: M10,", "# - {code: M10,")
        cohort = read(filled(text, tmp_path, horizon_days="60"))
        assert cohort.flow.n_events
        assert set(cohort.events["code"]) == {"URATE", "VISIT", "SCAN"}

    def test_a_meds_folder_and_its_labels(self, tmp_path: Path) -> None:
        folder = write_crowd(tmp_path / "meds")
        text = drafted(folder)
        assert f"# Label files: {TASK}" in text
        cohort = read(filled(text.replace("  labels:", f"  labels: {TASK}"), tmp_path))
        assert cohort.flow.n_eligible == 240


class TestDraft:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        path = tmp_path / "pbc.csv"
        registry(np.random.default_rng(1)).to_csv(path, index=False)
        return path

    def test_the_command_prints_what_is_refused_until_it_is_filled(self, place: Path) -> None:
        done = sweep_here("cohort", "init", place, cwd=place.parent)
        assert (done.returncode, done.stderr) == (0, "")
        (place.parent / "draft.yaml").write_text(done.stdout)
        with pytest.raises(InputError) as caught:
            load_study_cohort(place.parent / "draft.yaml")
        empty = ["cohort.mapping.question", "cohort.mapping.horizon_days", "cohort.mapping.outcome.flag"]
        assert [problem.where for problem in caught.value.problems] == empty

    def test_an_outcome_is_known_by_its_words_too(self, tmp_path: Path) -> None:
        rows = [{"who": n, "ldl": n % 41, "state": ("Alive", "Dead")[n % 2], "months": n % 97} for n in range(120)]
        pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
        text = drafted(tmp_path / "table.csv")
        assert "# Outcome candidates: state (" in text
        assert "- {column: state" not in text

    def test_what_is_left_out_is_told_with_the_field_that_takes_it_in(self, tmp_path: Path) -> None:
        day = pd.date_range("2001-01-01", periods=N)
        drawn = np.random.default_rng(5).normal(80, 9, N).round(2).astype(str)
        table = pd.DataFrame({"enrolled": day.strftime("%d/%m/%Y"), "seen": day.strftime("%Y-%m")}).assign(
            crea=np.where(day.day < 8, "ND", drawn),
            urea=np.where(day.day < 2, "canary", drawn),
            weight=[f"{cell} kg" for cell in drawn],
            born=day,
            name=[f"canary {n}" for n in range(N)],
            dead=np.arange(N) % 2,
        )
        table.to_csv(tmp_path / "table.csv", index=False)
        text = drafted(tmp_path / "table.csv")
        assert [line.strip() for line in text.splitlines() if "left out" in line] == [
            '# enrolled holds dates: left out; as a time {column: enrolled, format: "%d/%m/%Y"}',
            '# seen holds dates: left out; as a time {column: seen, format: "%Y-%m"}',
            f"# crea holds numbers but for {(day.day < 8).sum()} cells: left out; if these were not recorded, declare "
            "`missing: [ND]`",
            f"# urea holds numbers but for {(day.day < 2).sum()} cells: left out; if these were not recorded, declare "
            "`missing: […]`",
            "# weight holds numbers with units: left out; write them without, and `unit: …` here",
            "# born holds dates: left out; they are for times",
            "# name has many words: left out",
        ]

    @pytest.mark.parametrize(("time", "said"), [("t", "time: t "), ("obs", "time:  ")])
    def test_rows_of_an_id_that_repeats_have_a_time(self, time: str, said: str, tmp_path: Path) -> None:
        visits(np.random.default_rng(2)).rename(columns={"year": time}).to_csv(tmp_path / "table.csv", index=False)
        text = drafted(tmp_path / "table.csv")
        assert f"    {said}" in text
        assert "clock: none\n" not in text

    def test_what_few_rows_have_is_not_told(self, place: Path) -> None:
        text = drafted(place)
        assert "canary" not in text
        assert "centre, categories: {main: main}}   # and 1 rare words: add them" in text

    def test_outcomes_are_asked_for_and_no_input(self, place: Path) -> None:
        lines = [line.strip() for line in drafted(place).splitlines()]
        (candidates,) = [line for line in lines if line.startswith("# Outcome candidates: status (")]
        assert all(word in candidates for word in ("alive", "dead", "transplanted"))
        assert "forbidden: [status, years]   # guess: what tells the outcome or follow-up" in lines
        assert not any(line.startswith("- {column: status") for line in lines)
        assert "# sno. numbers rows: left out" in lines
        assert "- {column: serBilir, step: 0.1, unit: mg/dL}   # guess: unit" in lines

    @pytest.mark.parametrize("name", ["a: b", "# x", "yes", "{a", "1", 'quo"te'])
    def test_any_name_and_word_comes_back_as_it_was(self, name: str, tmp_path: Path) -> None:
        table = registry(np.random.default_rng(1)).drop(columns=["note", "centre", "sno."])
        table[name] = np.resize([name, "other", "third"], N)
        table.to_csv(tmp_path / "odd.csv", index=False)
        outcome = "{flag: status, equals: dead, time: {column: years, unit: years}}"
        cohort = read(filled(drafted(tmp_path / "odd.csv"), tmp_path, outcome=outcome, horizon_days="365"))
        assert f"{name}={name}" in set(cohort.events["code"])

    def test_a_flag_of_the_whole_follow_up_is_no_input_and_what_some_visits_lack_is_not_static(self) -> None:
        lines = [line.strip() for line in drafted(FRAMINGHAM).splitlines()]
        (forbidden,) = [line for line in lines if line.startswith("forbidden:")]
        told = set(forbidden[len("forbidden: [") : forbidden.index("]")].split(", "))
        assert told == {name for name in FORBIDDEN_COLUMNS if not name.startswith("PREV")}
        assert "- {column: educ, static: true}   # guess: a scale; codes want categories" in lines
        assert "- {column: HDLC, unit: mg/dL}   # guess: unit" in lines
        assert "sex: {column: SEX, male: 1, female: 2}   # guess" in lines

    def test_a_name_that_can_not_be_printed_is_refused_and_an_empty_one_passed_over(self, tmp_path: Path) -> None:
        table = registry(np.random.default_rng(1))
        table.to_csv(tmp_path / "indexed.csv")
        assert 'column: ""' not in drafted(tmp_path / "indexed.csv")
        table.rename(columns={"drug": "canary\ndrug"}).to_csv(tmp_path / "odd.csv", index=False)
        with pytest.raises(InputError, match="1 columns have a name that can't be printed, the first is column 4"):
            drafted(tmp_path / "odd.csv")

    @pytest.mark.parametrize("name", ["empty.csv", "nothing", "x.txt"])
    def test_what_is_no_table_is_refused(self, name: str, tmp_path: Path) -> None:
        if name == "nothing":
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_text("a,b\n" if name == "empty.csv" else "a,b\n1,2,canary\n")
        with pytest.raises(InputError) as caught:
            look(DraftQuestion(place=tmp_path / name))
        assert "canary" not in str(caught.value)
