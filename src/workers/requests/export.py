"""A committed trial's adapter copied out of its store, with what it tells of whom it was trained on."""

import itertools
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from workers.contract.answers.export import Export, Exported, ExportOrder, Membership
from workers.contract.errors import InputError, Problem
from workers.contract.layout import StoreLayout
from workers.contract.system.durable import link_exclusive, sync_tree
from workers.contract.system.removal import try_to_remove
from workers.models.adapters import stored_adapter
from workers.requests.membership import measure_membership
from workers.requests.transfer import committed_adapter
from workers.store.private_files import refuse_unfit_place, write_new
from workers.work.bench import Bench, Work

RECORD, BASE = "membership.json", "base.json"


def export_adapter(order: ExportOrder) -> Exported:
    """Measure, and copy the adapter in peft's own format; private to the user.

    Beside it lie `membership.json` and `base.json`: what its base is, by commit or digest, and how it was asked.

    Raises:
        InputError: No such adapter, no fit place, or it tells too much and no reason is given.
        StoreError: The outcome, the adapter or what it was trained on is damaged or gone.
    """
    to, layout = Path(order.to), StoreLayout(Path(order.store))
    outcome, adapter = committed_adapter(order.trial_id, layout)
    refuse_unfit_place(to, option="--to", kind="folder", data_class=order.data_class)
    work = Work(spec=outcome.trial.spec, layout=layout, folder=adapter.parent, bench=Bench())
    base, _ = work.base
    with stored_adapter(base.model, adapter) as model:
        membership = measure_membership(work, model.eval(), order)
    refuse_telling(membership)
    beside = {RECORD: membership.model_dump_json(indent=1), BASE: json.dumps(work.base_recipe.content(), indent=1)}
    with _copied(adapter, beside, to) as copied:
        _record(order, membership, layout)
        copied.rename(to)
    return Exported(membership=membership, files=tuple(sorted(file.name for file in to.iterdir())))


def refuse_telling(membership: Membership) -> None:
    """See that an adapter of entrusted records is within its bounds, or leaves for a reason.

    Raises:
        InputError: It is not, or too few were compared to be sure.
    """
    is_needed = membership.data_class.rules.adapters_are_checked
    if is_needed and not membership.is_within and not membership.reason:
        what = f"the adapter may tell who was trained on: {membership}"
        remedy = "train on more examples or for fewer steps, or give --despite-membership REASON, which is recorded"
        raise InputError(Problem("--to", what, remedy))


def _record(order: ExportOrder, membership: Membership, layout: StoreLayout) -> None:
    """Before it leaves."""
    record = Export(to=order.to, by=order.by, at=order.at, membership=membership).model_dump_json(indent=1).encode()
    numbers = itertools.count(1)
    while not link_exclusive(layout.export(order.trial_id, next(numbers)), record):
        pass


@contextmanager
def _copied(adapter: Path, beside: Mapping[str, str], to: Path) -> Iterator[Path]:
    """The adapter and further files in a private folder next to `to`, gone in the end unless it was renamed."""
    temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=to.parent))
    try:
        for file in sorted(adapter.iterdir()):
            shutil.copyfile(file, temporary / file.name, follow_symlinks=False)
            (temporary / file.name).chmod(0o600)
        for name, text in beside.items():
            write_new(temporary / name, text)
        sync_tree(temporary)
        yield temporary
    finally:
        try_to_remove(temporary, within=to.parent)
