"""Prepared inputs on disk: the files in them, where they lie, and how a new one is published.

What is published is never changed. Everything here is participant data or large.
"""

import secrets
from collections.abc import Callable
from pathlib import Path

from workers.contract.errors import StoreError
from workers.contract.inputs import Counts, InputRecipe, Manifest
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import file_digests, link_exclusive, sync_tree, temporary_prefix
from workers.contract.system.removal import remove, try_to_remove

LABELS, CENSORING = "labels.parquet", "censoring.parquet"
VALUES, TEXTS, TOKENS = "values.parquet", "texts.parquet", "tokens.parquet"
RECORDS, LEXICON, PROOF = "records.parquet", "lexicon.json", "proof.json"


def folder_of(recipe: InputRecipe, layout: StoreLayout) -> Path:
    """Where a prepared input lies.

    Raises:
        StoreError: It is not prepared.
    """
    manifest = Manifest.load(layout.manifest(recipe.digest()))
    if manifest is None:
        raise StoreError(f"{layout.root}: {recipe.kind} is not prepared; run `python -m workers prepare`")
    return layout.input(recipe.digest()) / manifest.folder


def verified_folder(recipe: InputRecipe, layout: StoreLayout) -> Path:
    """Where a prepared input lies, after every file in it proved to be the one that was published.

    Raises:
        StoreError: It is not prepared, or a file has changed since.
    """
    folder = folder_of(recipe, layout)
    manifest = Manifest.load(layout.manifest(recipe.digest()))
    if manifest is None or file_digests(folder) != manifest.files:
        where = layout.input(recipe.digest())
        raise StoreError(f"{where}: the prepared {recipe.kind} is damaged; delete this folder and run again")
    return folder


def publish(recipe: InputRecipe, layout: StoreLayout, build: Callable[[Path], Counts]) -> None:
    """Build and publish one input unless the store has it.

    Args:
        build: Writes the input's files into a folder and returns the figures of its manifest.

    Raises:
        StoreError: Another node published the same recipe with other content.
    """
    if Manifest.load(layout.manifest(recipe.digest())) is not None:
        return
    # Named as being written until it is whole, so that what a killed process leaves is known for what it is.
    folder = layout.input(recipe.digest()) / f"{temporary_prefix()}{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    try:
        counts = build(folder)
        sync_tree(folder)
        folder = folder.rename(folder.with_name(secrets.token_hex(4)))
        manifest = Manifest(recipe=recipe, folder=folder.name, files=file_digests(folder), counts=counts).sealed()
        won = link_exclusive(layout.manifest(recipe.digest()), manifest.model_dump_json(indent=1).encode())
    except BaseException:
        if not _is_named(folder, layout.manifest(recipe.digest())):  # it is once linked, whatever failed after that
            try_to_remove(folder, within=layout.root)
        raise
    if not won:
        remove(folder, within=layout.root)
        published = Manifest.load(layout.manifest(recipe.digest()))
        if published is not None and published.files != manifest.files:
            raise StoreError(f"{recipe.kind} {recipe.digest()}: two nodes made different files; compare their packages")


def _is_named(folder: Path, path: Path) -> bool:
    """Whether the manifest names this folder, or can't be read and may."""
    try:
        manifest = Manifest.load(path)
    except StoreError:
        return True
    return manifest is not None and manifest.folder == folder.name
