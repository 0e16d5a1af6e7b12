"""The dataset made of a store, and the one statement that may be asked of it."""

import errno
import os
import random
import shutil
import signal
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from orchestrator.design.grid import Design
from orchestrator.launch.run import EXIT_INTERRUPTED
from orchestrator.store.dataset.aggregate import aggregate
from orchestrator.store.dataset.query import query, query_table, write_parquet
from orchestrator.store.derived import dataset_damages
from orchestrator.store.folder import unusable
from orchestrator.store.holding import hold_lock
from orchestrator.study.study import sealed_text
from support.stores.full import DESIGN, DIVERGED, FIRST, SECOND, STUDY, full_store, rewrite
from workers.contract.errors import DiskFullError, InputError, StoreError
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Outcome
from workers.contract.recipes.scorings import Scoring


@pytest.fixture(scope="module")
def aggregated(tmp_path_factory: pytest.TempPathFactory) -> StoreLayout:
    """A full store with one diverged trial and its dataset, not to be changed; its path has a quote."""
    layout = full_store(tmp_path_factory.mktemp("o'clock"))
    aggregate(layout, DESIGN)
    return layout


@pytest.fixture
def layout(aggregated: StoreLayout, tmp_path: Path) -> StoreLayout:
    """The same store, to be changed, without a dataset."""
    ignored = shutil.ignore_patterns("dataset")
    return StoreLayout(Path(shutil.copytree(aggregated.root, tmp_path / "store", ignore=ignored)))


class TestDataset:
    def test_has_one_row_for_each_trial_under_its_supervision(self, layout: StoreLayout) -> None:
        assert aggregate(layout, DESIGN) == {}
        table = pd.read_parquet(layout.dataset / "trials")
        assert sorted(table["trial_id"]) == sorted(DESIGN.by_id)
        assert set(table["supervision"]) == {"label_only", "free_form", "step_by_step", "comparator"}
        row = table.set_index("trial_id").loc[FIRST.trial_id]
        outcome = Outcome.load(layout.outcome(FIRST.trial_id))
        scores = outcome.scores["held_out"]
        assert row["supervision"] == FIRST.coordinates["supervision"]
        assert (row["base"], row["train_size"], row["seed"]) == ("tiny-llama", 128, 11)
        assert row["held_out_strict_roc_auc"] == scores.metrics[Scoring.STRICT].roc_auc
        assert (row["held_out_n_examples"], row["wall_s"]) == (scores.n_examples, outcome.cost.wall_s)

    def test_each_file_is_whole_by_itself(self, aggregated: StoreLayout) -> None:
        files = sorted(aggregated.dataset.glob("*/*/*.parquet"))
        for file in files:
            with duckdb.connect() as connection:
                (found,) = connection.sql(
                    "select distinct supervision from read_parquet(?)", params=[str(file)]
                ).fetchall() or [()]
            for table in (pd.read_parquet(file), pq.ParquetFile(file).read().to_pandas()):
                assert list(table["supervision"].unique()) == list(found)
            assert set(found) <= {file.parent.name.removeprefix("supervision=")}
        assert len(files) == 4 * 4

    def test_times_are_times(self, aggregated: StoreLayout) -> None:
        table = pd.read_parquet(aggregated.dataset / "trials")
        assert {str(table[name].dtype) for name in ("started_at", "ended_at")} == {"datetime64[us, UTC]"}
        ((began, of),) = query(
            aggregated, f"select started_at, typeof(started_at) from trials where trial_id = '{FIRST.trial_id}'"
        ).rows
        assert of == "TIMESTAMP WITH TIME ZONE"
        assert began == datetime.fromisoformat(Outcome.load(aggregated.outcome(FIRST.trial_id)).provenance.started_at)

    def test_on_an_axis_that_the_study_does_not_vary_a_trial_stands_where_all_do(self, aggregated: StoreLayout) -> None:
        table = pd.read_parquet(aggregated.dataset / "trials").groupby("supervision", observed=True)
        said = {name: table[name].unique().map(list).to_dict() for name in ("lora_rank", "objective", "label_access")}
        assert said["lora_rank"]["free_form"] == said["lora_rank"]["label_only"] == [8]
        assert (said["objective"]["free_form"], said["label_access"]["step_by_step"]) == (["token_mean"], ["blind"])
        assert pd.isna(said["label_access"]["label_only"]).all()

    def test_duckdb_reads_it_as_one_partitioned_table(self, layout: StoreLayout) -> None:
        aggregate(layout, DESIGN)
        pattern = layout.dataset / "predictions" / "*" / "*.parquet"
        with duckdb.connect() as connection:
            source = connection.read_parquet(str(pattern), hive_partitioning=True)
            rows = source.aggregate("supervision, count(*)").fetchall()
        assert sum(count for _, count in rows) == len(pd.read_parquet(layout.dataset / "predictions"))
        assert "free_form" in dict(rows)

    def test_every_partition_is_one_row_group(self, layout: StoreLayout) -> None:
        aggregate(layout, DESIGN)
        for path in layout.dataset.rglob("*.parquet"):
            assert pq.ParquetFile(path).num_row_groups <= 1

    def test_a_diverged_trial_has_a_row_and_steps_but_no_predictions(self, aggregated: StoreLayout) -> None:
        where = f"WHERE trial_id = '{DIVERGED.trial_id}'"
        assert query(aggregated, f"SELECT state, held_out_strict_brier FROM trials {where}").rows == (
            ("diverged", None),
        )
        assert query(aggregated, f"SELECT count(*) FROM history {where}").rows == ((3,),)
        assert query(aggregated, f"SELECT count(*) FROM predictions {where}").rows == ((0,),)

    def test_a_whole_number_larger_than_64_bits_is_told_as_it_is(self, aggregated: StoreLayout) -> None:
        assert query(aggregated, f"SELECT {10**30}::hugeint").rows == ((10**30,),)

    @pytest.mark.parametrize("at", ["DATE '-4000-01-01'", "TIMESTAMP 'infinity'", "[TIMESTAMP '290000-01-01']"])
    def test_a_time_that_python_can_not_hold_is_refused_by_name(self, aggregated: StoreLayout, at: str) -> None:
        with pytest.raises(InputError, match="no calendar of Python; CAST it AS VARCHAR"):
            query(aggregated, f"SELECT {at}")

    def test_ctrl_c_ends_a_statement_that_would_take_hours(self, aggregated: StoreLayout) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as a shell's background job begins, it is ignored
        soon = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        soon.start()
        with pytest.raises(KeyboardInterrupt):
            query(aggregated, "SELECT count(*) FROM range(9000000) a(x), range(9000000) b(y) WHERE x * 3 % 7 < y % 11")
        soon.join()

    def test_no_column_is_lost_to_another_of_its_name(self, aggregated: StoreLayout) -> None:
        with pytest.raises(InputError, match="two columns are called `a`"):
            query(aggregated, "SELECT 1 AS a, 2 AS a").records()

    def test_what_parquet_can_not_hold_is_refused_and_leaves_no_file(
        self, aggregated: StoreLayout, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match="has a column of a type that Parquet lacks"):
            write_parquet(aggregated, "SELECT INTERVAL 3 DAY AS i", tmp_path / "i.parquet")
        assert list(tmp_path.glob("*.parquet")) == []

    @pytest.mark.parametrize("damage", [lambda body: body[:-9], lambda body: b"x" + body[1:]])
    def test_a_damaged_file_leaves_its_trial_out_and_names_it(
        self, layout: StoreLayout, damage: Callable[[bytes], bytes]
    ) -> None:
        rewrite(layout.trial(FIRST.trial_id) / "attempt-1" / "predictions.parquet", damage)
        (layout.trial(SECOND.trial_id) / "attempt-1" / "history.parquet").unlink()
        left_out = aggregate(layout, DESIGN)
        assert "another checksum" in left_out[FIRST.trial_id]
        assert "history.parquet can't be read" in left_out[SECOND.trial_id]
        assert set(pd.read_parquet(layout.dataset / "trials")["trial_id"]) == {*DESIGN.by_id} - {*left_out}
        assert FIRST.trial_id not in set(pd.read_parquet(layout.dataset / "predictions")["trial_id"])

    def test_is_rebuilt_whole_and_leaves_no_temporaries(self, layout: StoreLayout) -> None:
        aggregate(layout, DESIGN)
        (layout.dataset / "trials" / "supervision=gone").mkdir()
        before = set(layout.root.iterdir())
        aggregate(layout, DESIGN)
        assert not (layout.dataset / "trials" / "supervision=gone").exists()
        assert set(layout.root.iterdir()) == before

    def test_of_nothing_can_be_made_but_not_queried(self, tmp_path: Path) -> None:
        layout = StoreLayout(tmp_path)
        assert aggregate(layout, DESIGN) == {}
        with pytest.raises(StoreError, match="no dataset yet"):
            query(layout, "SELECT 1")

    def test_a_store_that_takes_no_dataset_is_a_store_error(self) -> None:
        with pytest.raises(StoreError, match="can't be written"):
            aggregate(StoreLayout(Path("/proc/self")), DESIGN)

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_a_full_disk_is_no_bad_input_but_an_interruption(self, tmp_path: Path, number: int) -> None:
        error = unusable(tmp_path / "dataset", OSError(number, "No space left on device"), "written")
        assert isinstance(error, DiskFullError)
        assert error.exit_code == EXIT_INTERRUPTED
        assert "free space" in str(error)


class TestQuery:
    def test_answers_with_columns_and_rows(self, aggregated: StoreLayout) -> None:
        answer = query(
            aggregated,
            "SELECT supervision, count(*) AS n FROM trials WHERE role = 'grid' GROUP BY 1 ORDER BY 1",
        )
        assert answer.columns == ("supervision", "n")
        assert answer.rows == (("free_form", 4), ("label_only", 4), ("step_by_step", 4))

    def test_a_folder_above_that_looks_like_a_partition_is_none(self, aggregated: StoreLayout, tmp_path: Path) -> None:
        moved = StoreLayout(tmp_path / "supervision=x" / "y=1" / "[ab]*?" / "store")
        shutil.copytree(aggregated.root, moved.root)
        for sql in (
            "select * from trials order by all",
            "describe trials",
            "select distinct supervision from history order by 1",
        ):
            assert query(moved, sql) == query(aggregated, sql)

    def test_a_torn_table_without_a_checksum_is_named(self, aggregated: StoreLayout, tmp_path: Path) -> None:
        torn = StoreLayout(Path(shutil.copytree(aggregated.root, tmp_path / "torn")))
        torn.dataset_seal.unlink()
        for path in torn.dataset.glob("trials/*/*.parquet"):
            path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(StoreError, match="trials: can't be read"):
            query(torn, "select 1")

    @pytest.mark.parametrize(
        "sql",
        [
            "COPY trials TO 'stolen.csv'",
            "CREATE TABLE mine (i INT)",
            "SELECT 1; SELECT 2",
            "SELECT * FROM read_text('/etc/hostname')",
            "SET enable_external_access = true",
            "SELEKT 1",
            "SELECT no_such_column FROM trials",
            "",
        ],
    )
    def test_refuses_all_but_one_reading_statement(self, aggregated: StoreLayout, sql: str) -> None:
        with pytest.raises(InputError, match="DESCRIBE trials"):
            query(aggregated, sql)

    @pytest.mark.parametrize(
        ("sql", "said"),
        [
            ("select * from trails", 'does not exist! Did you mean "trials"?'),
            ("select * from genus", "does not exist"),  # duckdb would name its pg_enum
            ("select prefx(base) from trials", 'Did you mean "prefix"?'),
        ],
    )
    def test_an_unknown_name_is_told_on_one_line_beside_what_is_here(
        self, aggregated: StoreLayout, sql: str, said: str
    ) -> None:
        with pytest.raises(InputError) as caught:
            query(aggregated, sql)
        told = str(caught.value).partition("; see the columns")[0]
        assert told.endswith(said) and "\n" not in told


EVERYTHING = "SELECT * FROM trials, (SELECT count(*) FROM predictions), (FROM history), (FROM diagnostics)"
N_FLIPS = 60


def flip(path: Path, bit: int) -> None:
    def change(body: bytes) -> bytes:
        return body[: bit // 8] + bytes([body[bit // 8] ^ 1 << bit % 8]) + body[bit // 8 + 1 :]

    rewrite(path, change)


class TestDamage:
    @pytest.fixture
    def small(self, aggregated: StoreLayout, tmp_path: Path) -> StoreLayout:
        layout = StoreLayout(tmp_path)
        shutil.copytree(aggregated.dataset, layout.dataset)
        return layout

    def test_no_single_bit_gives_other_numbers(self, small: StoreLayout) -> None:
        chance = random.Random(0)
        files = sorted(path for path in small.dataset.rglob("*") if path.is_file())
        for _ in range(N_FLIPS):
            path = chance.choice(files)
            bit = chance.randrange(8 * path.stat().st_size)
            flip(path, bit)
            with pytest.raises(StoreError, match="is not what was written; `sweep run` writes the dataset again"):
                query(small, EVERYTHING)
            assert dataset_damages(small) == {str(path.relative_to(small.root)): "is not what was written"}
            flip(path, bit)
        assert dataset_damages(small) == {}

    def test_what_a_statement_does_not_read_does_not_hinder_it(self, small: StoreLayout) -> None:
        (path, *_) = small.dataset.glob("history/*/*.parquet")
        flip(path, 100)
        assert query(small, "SELECT count(*) FROM Trials").rows == ((len(DESIGN.everything),),)
        for sql in ("SELECT count(*) FROM history", "SUMMARIZE history", "SHOW TABLES"):
            with pytest.raises(StoreError, match="history"):
                query(small, sql)
        flip(path, 100)

    def test_a_file_that_is_gone_or_was_added_is_named(self, small: StoreLayout) -> None:
        (path, *_) = small.dataset.glob("trials/*/*.parquet")
        moved = path.with_name("part-1.parquet")
        path.rename(moved)
        found = {Path(name).name: what for name, what in dataset_damages(small).items()}
        assert found == {path.name: "is gone", moved.name: "is nothing of ours"}
        moved.rename(path)

    def test_one_of_before_there_were_checksums_is_read_and_gets_them_when_it_is_written(
        self, layout: StoreLayout
    ) -> None:
        aggregate(layout, DESIGN)
        layout.dataset_seal.unlink()
        assert dataset_damages(layout) == {}
        assert query(layout, "SELECT count(*) FROM trials").rows == ((len(DESIGN.everything),),)
        aggregate(layout, DESIGN)
        assert layout.dataset_seal.is_file()


def test_a_sum_of_whole_numbers_is_a_whole_number_in_arrow_too(aggregated: StoreLayout) -> None:
    table = query_table(aggregated, "select sum(n_steps) as n, avg(n_steps) as mean from trials")
    assert [str(field.type) for field in table.schema] == ["int64", "double"]


def test_an_answer_goes_into_a_new_file_alone(aggregated: StoreLayout, tmp_path: Path) -> None:
    write_parquet(aggregated, "select trial_id from trials", tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").num_rows == len(query(aggregated, "select 1 from trials").rows)
    for sql, path in (
        ("select 1", tmp_path / "a.parquet"),
        ("select 1 as a, 2 as a", tmp_path / "b.parquet"),
        ("select 1", tmp_path / "nowhere" / "c.parquet"),
    ):
        with pytest.raises(InputError):
            write_parquet(aggregated, sql, path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]


def test_what_has_ended_is_read_while_a_launch_runs_and_where_none_wrote_a_dataset(
    aggregated: StoreLayout, layout: StoreLayout
) -> None:
    layout.study.write_text(sealed_text(STUDY))
    for table in ("trials", "predictions", "history"):
        sql = f"select supervision, count(*) as n from {table} group by all order by all"
        assert query(layout, sql) == query(aggregated, sql)
    aggregate(layout, Design(trials=DESIGN.trials[:1], controls=()))
    n_trials = "select count(*) from trials"
    assert query(layout, n_trials).rows == ((1,),)
    with hold_lock(layout):
        assert query(layout, n_trials) == query(aggregated, n_trials)
