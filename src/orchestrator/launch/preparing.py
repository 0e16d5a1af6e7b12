"""Inputs made ahead of a launch, on a machine with a connection and without Ray, or taken from another store."""

import os
import secrets
import shutil
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
from workers.contract.errors import InputError, Problem, SweepError
from workers.contract.inputs import InputKind, Manifest, bases_of, input_recipes, is_prepared
from workers.contract.layout import StoreLayout
from workers.contract.recipes.bases import HubBase
from workers.contract.system.durable import file_digests, link_exclusive, sync_tree, temporary_prefix
from workers.contract.system.opening import open_store, refuse_links
from workers.contract.system.removal import remove
from workers.contract.trial import Trial, TrialSpec

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
    inputs_from: Path | None = None,
    size_of: SizeOf | None = None,
    work: Callable[[Sequence[Path]], None] | None = None,
) -> int:
    """Make every input that the store lacks, models of the hub included; how many trials were waiting for one.

    Args:
        tell: Hears beforehand what will be fetched, and how large it is.
        inputs_from: Another store, to take from it what it has prepared.
        work: Has a worker make what orders need.

    Raises:
        InputError: Data or weights are missing or wrong; nothing was made.
        LockedError: A driver works on the store.
        SweepError: An input can't be made, or a trial does not fit; what was made before stays.
    """
    check_sources(study)
    ensure_writable(layout, tell=tell)
    with hold_lock(layout, tell=tell):
        if inputs_from is not None:
            tell(take_inputs(design, layout, inputs_from))
        waiting = [trial for trial in design.everything if not is_prepared(trial.spec, layout)]
        for model in missing_models((trial.spec for trial in waiting), layout):
            tell(f"fetching {model.id} at {model.revision[:12]}, {_size(model, size_of or ask_hub)}")
        # What has no base comes last: its inputs are made with those of a base, and no worker need begin for it.
        for (_, name), group in groupby(sorted(waiting, key=_by_base), key=_by_base):
            orders = [write_order(trial, study, layout) for trial in group if not is_prepared(trial.spec, layout)]
            if orders:
                (work or _work)(orders)
                tell(f"made the inputs of base {name}" if name else "made the inputs of what has no base")
        return len(waiting)


def _by_base(trial: Trial) -> tuple[bool, str]:
    base = str(trial.coordinates.get("base", ""))
    return not base, base


def take_inputs(design: Design, layout: StoreLayout, source: Path) -> str:
    """Link what another store has prepared for this design and this one lacks, after a look at every file; says it.

    Raises:
        InputError: It has nothing of that, or an input that is not as it was published.
        StoreError: It holds a link, or a manifest that can't be read.
    """
    needed = {recipe.digest() for trial in design.everything for recipe in input_recipes(trial.spec).values()}
    lacking = sorted(digest for digest in needed if not layout.manifest(digest).is_file())
    there = open_store(source)
    refuse_links(there, is_thorough=True)
    found = {digest: manifest for digest in lacking if (manifest := Manifest.load(there.manifest(digest))) is not None}
    if lacking and not found:
        what = f"{source} holds none of the {len(lacking)} inputs that this study still needs"
        raise InputError(Problem("--inputs-from", what, "name the store of a study of this cohort, or leave it out"))
    for digest, manifest in found.items():
        _take(manifest, layout.input(digest), there.input(digest) / manifest.folder, source)
        link_exclusive(layout.manifest(digest), manifest.model_dump_json(indent=1).encode())
    return f"{len(found)} inputs taken from {source}, {len(lacking) - len(found)} still to be made"


def _take(manifest: Manifest, place: Path, origin: Path, source: Path) -> None:
    """Link an input's files; copies where the other store is another's, is on another disk, or is kept otherwise."""
    folder = place / f"{temporary_prefix()}{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    mode = folder.stat().st_mode & 0o666
    for name in manifest.files if origin.is_dir() else ():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            if (origin / name).stat().st_mode & 0o666 == mode:
                os.link(origin / name, folder / name)
                continue
        with suppress(FileNotFoundError):
            shutil.copyfile(origin / name, folder / name)
    if manifest.recipe.digest() != place.name or file_digests(folder) != manifest.files:
        remove(folder, within=place)
        what = f"the prepared {manifest.recipe.kind} in {source} is not as it was published"
        raise InputError(Problem("--inputs-from", what, f"delete {origin.parent}, or leave the option out"))
    sync_tree(folder)
    folder.rename(place / manifest.folder)


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
