"""Participant data removed from a store for good, and a search of all that stays for what the removed told of anybody.

What tells of participants is read first and goes last, so that a purge that was cut off can be done again, with its
proof. Blocks of a disk, its snapshots and backups are not reached.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from workers.contract.answers.purge import Proof, PurgeFindings, PurgeOrder, Removed
from workers.contract.errors import StoreError
from workers.contract.layout import StoreLayout
from workers.contract.system.opening import open_store
from workers.contract.system.participant_data import Parts, derived_parts, files_of, telling_parts
from workers.contract.system.removal import remove
from workers.contract.system.sources import sha256_of
from workers.requests.identifying import Identity, identify
from workers.requests.searching import Searched, search


def purge(order: PurgeOrder) -> PurgeFindings:
    """Remove what holds participants, and search what stays.

    Raises:
        StoreError: A part is a link, or can't be removed: the purge can be done again.
    """
    layout = open_store(Path(order.store))
    telling = telling_parts(layout)
    try:
        identity = identify(layout)
        removed = _remove(derived_parts(layout), layout)
        stays = [layout.root, *map(Path, order.databases)]
        found = search(stays, identity.needles, but=[path for paths in telling.values() for path in paths])
        removed |= _remove(telling, layout)
    except OSError as error:
        raise StoreError(
            f"{error.filename}: can't be removed ({error.strerror}); mend its owner and mode, and purge again"
        ) from None
    return PurgeFindings(removed=removed, proof=_proof(identity, found, layout))


def _remove(parts: Parts, layout: StoreLayout) -> dict[str, Removed]:
    """Remove files and folders; what they held, by part, unless that was nothing."""
    removed = {}
    for name, paths in parts.items():
        files = files_of(paths)
        digests = {str(file.relative_to(layout.root)): sha256_of(file) for file in files if not file.is_symlink()}
        lines = "".join(f"{file} {digest}\n" for file, digest in digests.items())
        n_bytes = sum(file.lstat().st_size for file in files)
        for path in paths:
            with suppress(FileNotFoundError):
                remove(path, within=layout.root)
        if files:
            digest = hashlib.sha256(lines.encode()).hexdigest()
            removed[name] = Removed(n_files=len(files), n_bytes=n_bytes, digest=digest)
    return removed


def _proof(identity: Identity, found: Searched, layout: StoreLayout) -> Proof:
    def named(path: Path) -> str:
        name = str(path.relative_to(layout.root)) if path.is_relative_to(layout.root) else str(path)
        return f"a name in {Path(name).parent}" if identity.needles.found_in(name) else name

    return Proof(
        n_identifiers=len(identity.identifiers),
        n_short=identity.n_short,
        n_pseudonyms=len(identity.pseudonyms),
        n_spans=len(identity.spans),
        n_files=found.n_files,
        n_bytes=found.n_bytes,
        hits={named(path): len(needles) for path, needles in sorted(found.hits.items())},
        unread=tuple(map(named, (*identity.unread, *found.unread))),
    )
