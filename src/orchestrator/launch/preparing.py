"""Inputs made ahead of a launch, on a machine with a connection and without Ray: the launch then fetches nothing."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from orchestrator.asking import run_worker
from orchestrator.design.grid import Design
from orchestrator.store.folder import ensure_writable
from orchestrator.store.holding import hold_lock
from orchestrator.store.orders import write_order
from orchestrator.study.files import check_sources
from orchestrator.study.study import Study
from workers.contract.errors import SweepError
from workers.contract.inputs import InputKind, bases_of, input_recipes, is_prepared
from workers.contract.layout import StoreLayout
from workers.contract.recipes.bases import HubBase
from workers.contract.trial import TrialSpec

# Of a model's commit: its size in bytes; raises OSError where the hub does not say.
SizeOf = Callable[[HubBase], int]
# Files of a commit that are never fetched don't count.
WEIGHTS = (".safetensors", ".json", ".model", ".txt")


def prepare_study(
    study: Study,
    design: Design,
    layout: StoreLayout,
    *,
    tell: Callable[[str], object],
    size_of: SizeOf | None = None,
    work: Callable[[Sequence[Path]], None] | None = None,
) -> int:
    """Make every input that the store lacks, models of the hub included; how many trials were waiting for one.

    Args:
        tell: Hears beforehand what will be fetched, and how large it is.
        work: Has a worker make what orders need.

    Raises:
        InputError: Data or weights are missing or wrong; nothing was made.
        LockedError: A driver works on the store.
        SweepError: An input can't be made, or a trial does not fit; what was made before stays.
    """
    check_sources(study)
    ensure_writable(layout, tell=tell)
    with hold_lock(layout, tell=tell):
        waiting = [trial for trial in design.everything if not is_prepared(trial.spec, layout)]
        for base in missing_models((trial.spec for trial in waiting), layout):
            tell(f"fetching {base.id} at {base.revision[:12]}, {_size(base, size_of or ask_hub)}")
        orders = [(str(trial.coordinates.get("base")), write_order(trial, study, layout)) for trial in waiting]
        for base, group in groupby(sorted(orders), key=lambda order: order[0]):
            (work or _work)([order for _, order in group])
            tell(f"made the inputs of base {base}" if base != "None" else "made the inputs of what has no base")
        return len(waiting)


def missing_models(specs: Iterable[TrialSpec], layout: StoreLayout) -> list[HubBase]:
    """Models of the hub that neither the store nor the hub's cache here holds, each once, by name."""
    found = {
        base.id: base
        for spec in specs
        for kind, base in bases_of(spec).items()
        if isinstance(base, HubBase) and not is_there(kind, spec, layout) and not is_cached(base)
    }
    return [found[name] for name in sorted(found)]


def is_there(kind: InputKind, spec: TrialSpec, layout: StoreLayout) -> bool:
    """Whether the store holds an input of a trial."""
    recipe = input_recipes(spec).get(kind)
    return recipe is not None and layout.manifest(recipe.digest()).is_file()


def is_cached(base: HubBase) -> bool:
    """Whether the hub's cache has begun to hold this commit; the fetch finds out about the rest."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(base.id, "config.json", revision=base.revision), str)


def ask_hub(base: HubBase) -> int:
    """Bytes of a commit's files that would be fetched; raises OSError."""
    from huggingface_hub import HfApi

    siblings = HfApi().model_info(base.id, revision=base.revision, files_metadata=True).siblings or []
    return sum(file.size or 0 for file in siblings if file.rfilename.endswith(WEIGHTS))


def _size(base: HubBase, size_of: SizeOf) -> str:
    with suppress(OSError, ValueError):
        return f"{size_of(base) / 1e9:,.1f} GB"
    return "of unknown size"


def _work(orders: Sequence[Path]) -> None:
    done = run_worker("prepare", *map(str, orders), asked="")
    if done.returncode:
        said = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
        raise SweepError("\n".join(said) or f"the worker ended with code {done.returncode}; this is a fault")
