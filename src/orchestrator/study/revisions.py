"""Which commit of a hub stands behind `revision: resolve`: looked up once, by the first plan that can, then sealed.

A sealed commit is never changed: the same study would train other weights. Nothing is invented: a base whose commit
can't be looked up stays unresolved, and the next plan tries again.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeGuard

from pydantic import TypeAdapter, ValidationError

from workers.contract.errors import StoreError
from workers.contract.files import read_regular
from workers.contract.recipes.bases import UNRESOLVED, BaseRecipe, HubBase
from workers.contract.system.durable import replace_file

LOOK_UP_TIMEOUT_S = 5.0
COMMIT = re.compile(r"[0-9a-f]{40}")
COMMIT_BY_ID: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])


def commit_on_hub(model_id: str) -> str:
    """The newest commit of a model, 40 hex digits.

    Raises:
        OSError: The hub does not answer within `LOOK_UP_TIMEOUT_S`, does not know the model, or keeps it behind a gate.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of its HTTP client, not declared

    try:
        return str(HfApi().model_info(model_id, timeout=LOOK_UP_TIMEOUT_S).sha)
    except HTTPError as error:  # an unreachable host is no OSError to the hub's client
        raise OSError(f"{model_id} could not be looked up ({type(error).__name__})") from None


def resolve_revisions(
    study_bases: Mapping[str, BaseRecipe], *, sealed: Path, look_up: Callable[[str], str] = commit_on_hub
) -> Mapping[str, BaseRecipe]:
    """Every base by name, hub models at their sealed commits; what had to be looked up is sealed.

    Args:
        sealed: JSON file, commit by model id; made when there is something to seal.
        look_up: Commit of a model id; raises OSError where it can't say.

    Raises:
        StoreError: The sealed file can't be read.
    """
    known = _read(sealed)
    wanted = dict.fromkeys(base.id for base in study_bases.values() if _is_unresolved(base))
    found = {
        model_id: commit for model_id in wanted if model_id not in known and (commit := _commit(model_id, look_up))
    }
    if found:
        known = found | _read(sealed)  # read again: what another plan has sealed meanwhile stands
        sealed.parent.mkdir(parents=True, exist_ok=True)
        replace_file(sealed, json.dumps(known, indent=1, sort_keys=True) + "\n")
    return {name: _at_commit(base, known) for name, base in study_bases.items()}


def unresolved(bases: Mapping[str, BaseRecipe]) -> tuple[str, ...]:
    """Names of the bases whose commit is not known."""
    return tuple(name for name, base in bases.items() if _is_unresolved(base))


def _is_unresolved(base: BaseRecipe) -> TypeGuard[HubBase]:
    return isinstance(base, HubBase) and base.revision == UNRESOLVED


def _commit(model_id: str, look_up: Callable[[str], str]) -> str | None:
    """What the hub says, if it is a commit."""
    try:
        commit = look_up(model_id)
    except OSError:
        return None
    return commit if COMMIT.fullmatch(commit) else None


def _at_commit(base: BaseRecipe, known: Mapping[str, str]) -> BaseRecipe:
    if not _is_unresolved(base) or base.id not in known:
        return base
    return base.model_copy(update={"revision": known[base.id]})


def _read(sealed: Path) -> dict[str, str]:
    """Sealed commits by model id; none where nothing is sealed."""
    remedy = "restore the file, or write the commits into the study"
    try:
        known = COMMIT_BY_ID.validate_json(read_regular(sealed))
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        raise StoreError(f"{sealed}: unreadable sealed revisions ({type(error).__name__}); {remedy}") from None
    if not all(COMMIT.fullmatch(commit) for commit in known.values()):
        raise StoreError(f"{sealed}: a sealed revision is no commit; {remedy}")
    return known
