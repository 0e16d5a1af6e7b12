"""`sweep audit`: check rationales against the records, have them rated by people, and see how far these agree."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import STORES, AsJson, StoreRoot, StudyFile, console_of, named, open_study, print_json
from orchestrator.saying.addressing import local_path
from workers.contract.files import true_path
from workers.contract.system.durable import replace_file

audit_app = typer.Typer(
    no_args_is_help=True, help="Check rationales against the records; have them rated, and see how far raters agree."
)


@audit_app.command()
def run(study: StudyFile, store: StoreRoot = STORES, as_json: AsJson = False) -> None:
    """Check every rationale of a study; writes audit.json into its store."""
    from orchestrator.asking import ask
    from orchestrator.audit.automatic import show_audit, shown_audit, specs_with_rationales
    from orchestrator.design.grid import expand
    from workers.contract.answers.audit import AuditOrder
    from workers.contract.answers.questions import AUDIT_RATIONALES

    loaded, layout = open_study(study, store)
    order = AuditOrder(store=str(layout.root), specs=specs_with_rationales(expand(loaded), layout))
    shown = shown_audit(
        ask(AUDIT_RATIONALES, order),
        study=loaded.study,
        data_class=loaded.cohort.data_class,
        min_cell=loaded.cohort.min_cell,
    )
    replace_file(layout.audit, shown.sealed().model_dump_json(indent=1))
    if as_json:
        print_json(shown, without={"checksum"})
        return
    show_audit(console_of(), shown)
    console_of().print(f"audit  {layout.audit}   (`sweep report {named(study, store)}` takes it in)")


@audit_app.command()
def sheet(
    study: StudyFile,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", parser=local_path, help="a new folder outside of any git work tree")
    ],
    n: Annotated[int, typer.Option("--n", min=4, max=5000, help="rationales to rate, beside 10 for training")] = 150,
    raters: Annotated[int, typer.Option("--raters", min=1, max=20, help="each rates all of them")] = 2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="of the draw and the orders")] = 0,
    store: StoreRoot = STORES,
    as_json: AsJson = False,
) -> None:
    """Write blinded annotation sheets, a CSV to fill and a page to read for each rater, and their key."""
    from orchestrator.asking import ask
    from orchestrator.audit.automatic import specs_with_rationales
    from orchestrator.design.grid import expand
    from workers.contract.answers.audit import SheetOrder
    from workers.contract.answers.questions import WRITE_SHEETS

    loaded, layout = open_study(study, store)
    written = ask(
        WRITE_SHEETS,
        SheetOrder(
            store=str(layout.root),
            specs=specs_with_rationales(expand(loaded), layout),
            data_class=loaded.cohort.data_class,
            n_rationales=n,
            n_raters=raters,
            seed=seed,
            out=str(true_path(out)),
        ),
    )
    if as_json:
        print_json(written, without={"problems"})
        return
    say = console_of().print
    say(
        f"{written.n_rated} rationales for each of {raters} raters, {written.n_training} before them for training, "
        f"{written.n_repeated} twice"
    )
    if written.n_rated < n:
        say(f"warning: {n} were asked for; no more participants have a rationale")
    for file in written.files:
        say(f"sheet  {file}")
    say(f"key    {written.key}   (keep it from the raters; `sweep audit agree` needs it)")


@audit_app.command()
def agree(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", parser=local_path, help="filled sheets, CSV, one a rater")
    ],
    key: Annotated[
        Path,
        typer.Option("--key", metavar="KEY.csv", parser=local_path, help="the key that `sheet` named, in its store"),
    ],
    as_json: AsJson = False,
) -> None:
    """Compare filled sheets; writes agreement.json into the store that holds the key."""
    from orchestrator.audit.agreement import agree as compare
    from orchestrator.audit.agreement import show_agreement
    from orchestrator.audit.ratings import read_key, read_ratings

    ratings = read_ratings(files, read_key(key))
    loaded, layout = open_study(true_path(key).parents[1], STORES)
    found = compare(ratings, study=loaded.study, min_cell=loaded.cohort.min_cell)
    replace_file(layout.agreement, found.sealed().model_dump_json(indent=1))
    if as_json:
        print_json(found, without={"checksum"})
        return
    show_agreement(console_of(), found)
    console_of().print(f"agreement  {layout.agreement}")
