"""Commits of hub models: looked up once, sealed, never changed, never invented."""

import json
from pathlib import Path

import pytest

from orchestrator.study.revisions import resolve_revisions, unresolved
from workers.contract.errors import StoreError
from workers.contract.recipes.bases import BaseRecipe, BuiltinBase, HubBase

OLD, NEW = "a" * 40, "b" * 40


def hub(model_id: str, revision: str = "resolve") -> HubBase:
    return HubBase(kind="hub", id=model_id, revision=revision)


BASES: dict[str, BaseRecipe] = {
    "open": hub("owner/open"),
    "twin": hub("owner/open"),
    "pinned": hub("owner/open", OLD),
    "tiny": BuiltinBase(kind="builtin", recipe="micro_llama"),
}


class Hub:
    """A model hub that knows some commits and counts who asks."""

    def __init__(self, **commits: str) -> None:
        self.commits = {f"owner/{name}": commit for name, commit in commits.items()}
        self.asked: list[str] = []

    def __call__(self, model_id: str) -> str:
        self.asked.append(model_id)
        if model_id not in self.commits:
            raise OSError("not found")
        return self.commits[model_id]


def revisions(bases: dict[str, BaseRecipe] | None = None, *, sealed: Path, look_up: Hub) -> dict[str, str]:
    resolved = resolve_revisions(bases or BASES, sealed=sealed, look_up=look_up)
    return {name: base.revision for name, base in resolved.items() if isinstance(base, HubBase)}


def test_a_model_is_looked_up_once_and_sealed_whatever_its_number_of_names(tmp_path: Path) -> None:
    connected, sealed = Hub(open=NEW), tmp_path / "store" / "revisions.json"
    assert revisions(sealed=sealed, look_up=connected) == {"open": NEW, "twin": NEW, "pinned": OLD}
    assert connected.asked == ["owner/open"]
    assert json.loads(sealed.read_text()) == {"owner/open": NEW}


def test_a_sealed_commit_outlives_what_the_hub_says_later(tmp_path: Path) -> None:
    sealed = tmp_path / "revisions.json"
    revisions(sealed=sealed, look_up=Hub(open=OLD))
    later = Hub(open=NEW)
    assert revisions(sealed=sealed, look_up=later)["open"] == OLD
    assert later.asked == []


def test_a_later_base_is_added_to_what_is_sealed(tmp_path: Path) -> None:
    sealed = tmp_path / "revisions.json"
    revisions(sealed=sealed, look_up=Hub(open=OLD))
    revisions({**BASES, "late": hub("owner/late")}, sealed=sealed, look_up=Hub(open=NEW, late=NEW))
    assert json.loads(sealed.read_text()) == {"owner/open": OLD, "owner/late": NEW}


@pytest.mark.parametrize("offline", [Hub(), Hub(open="main"), Hub(open="None")], ids=["offline", "branch", "nothing"])
def test_without_a_commit_from_the_hub_a_base_stays_unresolved_and_nothing_is_sealed(
    tmp_path: Path, offline: Hub
) -> None:
    sealed = tmp_path / "revisions.json"
    resolved = resolve_revisions(BASES, sealed=sealed, look_up=offline)
    assert dict(resolved) == BASES
    assert unresolved(resolved) == ("open", "twin")
    assert not sealed.exists()


def test_all_bases_of_a_resolved_study_are_resolved(tmp_path: Path) -> None:
    assert unresolved(resolve_revisions(BASES, sealed=tmp_path / "revisions.json", look_up=Hub(open=NEW))) == ()


@pytest.mark.parametrize("text", ["{", '{"owner/open": "main"}', '["x"]'])
def test_a_damaged_seal_is_an_error_that_says_what_to_do(tmp_path: Path, text: str) -> None:
    sealed = tmp_path / "revisions.json"
    sealed.write_text(text)
    with pytest.raises(StoreError, match="restore the file, or write the commits into the study"):
        resolve_revisions(BASES, sealed=sealed, look_up=Hub(open=NEW))
