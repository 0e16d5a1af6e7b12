"""What a worker keeps from trial to trial."""

from workers.work.bench import Bench


def test_what_was_drawn_of_a_cohort_is_drawn_once_a_worker() -> None:
    bench, drawn = Bench(), list[str]()

    def draw() -> int:
        drawn.append("again")
        return 7

    assert [bench.chosen(("cohort", 32), draw), bench.chosen(("cohort", 32), draw)] == [7, 7]
    assert bench.chosen(("cohort", 64), draw) == 7
    assert drawn == ["again", "again"]
