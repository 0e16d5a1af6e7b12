"""A base as the teacher: batched and seeded so that nothing follows from the rows beside, judged, kept, and refused."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from support.bases.small_models import prepared, saved_model, small_model
from support.launches.teaching import GROUNDED, taught_study
from support.studies.orders import micro_spec, order_of
from workers.contract.errors import InputError
from workers.contract.inputs import InputKind, Stage, input_recipes
from workers.contract.recipes.bases import BuiltinBase, FolderBase
from workers.contract.recipes.teaching import BaseTeacherRecipe, Supervision, WantedRationales
from workers.contract.system.sources import digest_of_place
from workers.examples.endpoint.assignment import Assignment
from workers.examples.endpoint.cache import AnswerCache, KeptAnswer
from workers.examples.endpoint.wording import TeacherReply
from workers.preparing.prepare import make
from workers.preparing.proof import prove
from workers.preparing.teacher import LocalTeacher, carry_out, write_by_base
from workers.store.published import PROOF

ANYBODY = BaseTeacherRecipe(kind="base", base=BuiltinBase(kind="builtin", recipe="micro_llama"), max_tokens=24)
WANTED = WantedRationales(supervision=Supervision.FREE_FORM, split_salt="")
UNGROUNDED = "The participant is a smoker, which raises risk. Overall, the risk is raised."


@pytest.fixture(scope="module")
def assignment(tmp_path_factory: pytest.TempPathFactory) -> Assignment:
    """Four rationales about invented people."""
    folder = taught_study(tmp_path_factory.mktemp("taught") / "store").folder
    return Assignment.of(folder, folder / "prompts", ANYBODY, wanted=WANTED)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[BaseTeacherRecipe, Path, Path]:
    """A Llama of random weights: the teacher's recipe, the prepared base, the folder of its proof."""
    folder = tmp_path_factory.mktemp("base")
    source = saved_model(small_model("llama", max_position_embeddings=1024), folder / "source")
    base = FolderBase(kind="folder", sha256=digest_of_place(source))
    place = prepared(source, folder / "prepared")
    (folder / PROOF).write_text(prove(place, base, precision="float32").model_dump_json())
    return ANYBODY.model_copy(update={"base": base}), place, folder


@pytest.fixture(scope="module")
def local(made: tuple[BaseTeacherRecipe, Path, Path]) -> LocalTeacher:
    recipe, place, proof = made
    return LocalTeacher.of(recipe, place, proof=proof, cache=AnswerCache(proof / "cache"))


def said(local: LocalTeacher, assignment: Assignment, *places: int, attempt: int = 0) -> dict[int, tuple[str, bool]]:
    answers = local.answers(assignment, places, attempt=attempt)
    return {place: (kept.answer.model_dump_json(), is_new) for place, kept, is_new in answers}


class TestWriting:
    def test_a_row_is_written_alike_alone_and_beside_others(
        self, local: LocalTeacher, assignment: Assignment, tmp_path: Path
    ) -> None:
        alone = replace(local, cache=AnswerCache(tmp_path))
        together = said(local, assignment, 0, 1, 2, 3)
        assert said(alone, assignment, 2) == {2: together[2]}
        assert len({text for text, _ in together.values()}) == 4  # a label's chance follows from the whole text

    def test_what_was_written_is_kept_and_another_try_is_another_text(
        self, local: LocalTeacher, assignment: Assignment
    ) -> None:
        first, again = said(local, assignment, 0), said(local, assignment, 0)
        assert again == {0: (first[0][0], False)}
        assert said(local, assignment, 0, attempt=1)[0][0] != first[0][0]

    def test_a_request_without_room_for_its_answer_is_refused(
        self, local: LocalTeacher, assignment: Assignment, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match=r"teacher: a request of \d+ tokens .* lower teacher.max_tokens"):
            said(replace(local, asking=replace(local.asking, room=20), cache=AnswerCache(tmp_path)), assignment, 0)


class Scripted:
    """Says to every question what is next in the script."""

    def __init__(self, *texts: str, says: str = "yes") -> None:
        self.texts, self.says, self.asked = texts, says, list[Sequence[int]]()

    def answers(
        self, assignment: Assignment, places: Sequence[int], *, attempt: int
    ) -> Iterator[tuple[int, KeptAnswer, bool]]:
        self.asked.append(places)
        reply = TeacherReply(evidence=(), reasoning=self.texts[attempt], answer=self.says, confidence=0.5)
        kept = KeptAnswer(answer=reply, prompt_tokens=10, completion_tokens=2, is_schema_enforced=False)
        yield from ((place, kept, True) for place in places)


class TestJudging:
    def test_what_the_record_does_not_support_is_tried_again_and_the_best_is_kept(self, assignment: Assignment) -> None:
        teacher = Scripted(UNGROUNDED, GROUNDED)
        texts, counts = assignment.settled(carry_out(assignment, teacher))
        assert texts["free_form"].tolist() == [GROUNDED] * 4 + ["", ""]
        assert (counts["n_sent"], counts["n_regenerated"], counts["n_ungrounded"]) == (8, 4, 0)
        assert (counts["prompt_tokens"], counts["completion_tokens"]) == (80, 16)

    def test_three_tries_are_the_most(self, assignment: Assignment) -> None:
        teacher = Scripted(UNGROUNDED, UNGROUNDED, UNGROUNDED)
        _, counts = assignment.settled(carry_out(assignment, teacher))
        assert (len(teacher.asked), counts["n_ungrounded"], counts["n_written"]) == (3, 4, 4)

    def test_at_temperature_0_there_is_one(self, assignment: Assignment) -> None:
        teacher = Scripted(UNGROUNDED)
        cold = ANYBODY.model_copy(update={"temperature": 0.0})
        carry_out(replace(assignment, recipe=cold), teacher)
        assert len(teacher.asked) == 1

    @pytest.mark.parametrize(("access", "n_kept"), [("blind", 4), ("filtered", 2), ("conditioned", 4)])
    def test_its_own_answer_counts_unless_it_was_told(self, assignment: Assignment, access: str, n_kept: int) -> None:
        recipe = ANYBODY.model_copy(update={"label_access": access})
        told = replace(assignment, recipe=recipe)
        texts, _ = told.settled(carry_out(told, Scripted(GROUNDED)))
        assert (texts["free_form"] == GROUNDED).sum() == n_kept

    def test_a_base_that_comes_to_no_sentence_is_no_teacher(self, assignment: Assignment) -> None:
        with pytest.raises(InputError, match="teacher: its base came to no whole sentence in 4 of 4"):
            carry_out(assignment, Scripted("", "", ""))


def test_random_weights_are_asked_three_times_for_everybody_and_refused(
    made: tuple[BaseTeacherRecipe, Path, Path], tmp_path: Path
) -> None:
    study, (recipe, base, proof) = taught_study(tmp_path / "store"), made
    with pytest.raises(InputError, match="no whole sentence"):
        write_by_base(
            study.folder,
            recipe,
            wanted=WANTED,
            prompts=study.folder / "prompts",
            base=base,
            proof=proof,
            cache=study.cache,
        )
    assert len(study.kept()) == 3 * 4  # of the train rows


class TestInputs:
    def test_a_base_that_teaches_and_is_taught_is_made_once(self) -> None:
        recipes = input_recipes(micro_spec(Supervision.FREE_FORM, teacher=ANYBODY))
        assert recipes[InputKind.TEACHER_BASE] == recipes[InputKind.BASE]
        assert recipes[InputKind.TEACHER_PROOF] == recipes[InputKind.PROOF]

    def test_what_is_wrong_with_the_teachers_base_stands_at_the_teacher(self, store: Path) -> None:
        absent = ANYBODY.model_copy(update={"base": FolderBase(kind="folder", sha256="0f" * 32)})
        spec = micro_spec(Supervision.FREE_FORM, teacher=absent)
        unfit = make([order_of(spec, store)], Stage.BASES)
        assert [problem.where for problem in unfit[spec.trial_id]] == ["teacher.base"]

    def test_a_base_without_room_for_what_it_is_asked_is_not_made(self, store: Path) -> None:
        """Told by the tokenizer, at the stage of texts."""
        tiny = BuiltinBase(kind="builtin", recipe="tiny_llama")
        talkative = ANYBODY.model_copy(update={"base": tiny, "max_tokens": 250})
        spec = micro_spec(Supervision.FREE_FORM, teacher=talkative)
        (problem,) = make([order_of(spec, store)], Stage.TEXTS)[spec.trial_id]
        assert (problem.where, problem.what.endswith("and an answer of 250 do not fit its base")) == ("teacher", True)
        made = {path.parent.name for path in store.glob("inputs/*/manifest.json")}
        assert input_recipes(spec)[InputKind.TEACHER_BASE].digest() not in made
