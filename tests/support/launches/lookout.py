"""Looks for what was planted in participants, while launches run and afterwards, in every place that they touch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.execution.on_ray.connection.local_ray import PREFIX
from support.launches.scenes import Scene
from support.studies.canaries import CANARIES
from workers.requests.searching import Needles, Searched, search

# Where participants' data are kept, and read from.
DECLARED = ("source tables", "store: inputs", "store: teacher-cache", "sheets and exports")
KIND_OF = {needle: kind for kind, needles in CANARIES.items() for needle in needles}
PLANTED = Needles(anywhere=frozenset(KIND_OF))


@dataclass
class Tally:
    """What was looked through of one place, at most at once, and every kind of canary that was ever seen there."""

    n_files: int = 0
    n_bytes: int = 0
    kinds: set[str] = field(default_factory=set)
    paths: set[Path] = field(default_factory=set)

    def add(self, searched: Searched) -> None:
        """Enter one look."""
        self.n_files, self.n_bytes = max(self.n_files, searched.n_files), max(self.n_bytes, searched.n_bytes)
        self.kinds |= {KIND_OF[needle] for found in searched.hits.values() for needle in found}
        self.paths |= searched.hits.keys()


@dataclass(frozen=True)
class Lookout:
    """Every place that a scene's processes may write to, given that their TMPDIR and HOME lie below `temporary`."""

    scene: Scene
    temporary: Path
    tallies: dict[str, Tally] = field(default_factory=dict)

    def look(self) -> None:
        """Now, whatever runs."""
        for place, (inside, but) in self._places().items():
            self.tallies.setdefault(place, Tally()).add(search(inside, PLANTED, but=but))
        for place, name in (("process arguments", "cmdline"), ("process environments", "environ")):
            files = [Path(f"/proc/{process.pid}/{name}") for process in self.scene.processes()]
            self.tallies.setdefault(place, Tally()).add(search(files, PLANTED))

    def _places(self) -> Mapping[str, tuple[Iterable[Path], Iterable[Path]]]:
        folder, layout = self.scene.folder, self.scene.layout
        sessions = [self.temporary / "tmp" / "ray", *self.temporary.glob(f"tmp/{PREFIX}*")]
        store = {
            "store: inputs": [layout.inputs],
            "store: teacher-cache": [layout.teacher_cache],
            "store: trials": [layout.trials],
            "store: dataset": [layout.dataset],
            "store: attempts": [layout.root / "attempts"],
            "store: logs": [layout.root / "logs"],
            "store: orders": [layout.orders],
            "MLflow database and artifacts": [*layout.root.glob("mlflow.db*"), layout.tracking_artifacts],
            "report.html": [layout.report],
            "tripod_llm.json": [layout.tripod],
            "Tune scratch": [layout.scratch],
        }
        told = [path for paths in store.values() for path in paths]
        places: dict[str, tuple[Iterable[Path], Iterable[Path]]] = {
            place: (paths, []) for place, paths in store.items()
        }
        places["store: all else"] = ([layout.root], told)
        places["source tables"] = ([*folder.glob("*.csv"), folder / "meds"], [])
        places["sheets and exports"] = ([folder / "out"], [])
        places["stdout and stderr"] = (folder.glob("log-*"), [])
        places["Ray sessions"] = (sessions, [])
        places["TMPDIR, all else"] = ([self.temporary / "tmp"], sessions)
        places["HOME"] = ([self.temporary / "home"], [])
        return places


def table_of(lookouts: Iterable[Lookout]) -> list[str]:
    """As Markdown, one row a place."""
    rows: dict[str, Tally] = {}
    for lookout in lookouts:
        for place, tally in lookout.tallies.items():
            row = rows.setdefault(place, Tally())
            row.n_files, row.n_bytes = row.n_files + tally.n_files, row.n_bytes + tally.n_bytes
            row.kinds |= tally.kinds
    lines = ["| place | files | MB | kinds of canary found | may hold participants' data |", "|---|---|---|---|---|"]
    for place, row in sorted(rows.items(), key=lambda entry: (entry[0] not in DECLARED, entry[0])):
        found = f"{len(row.kinds)}: {', '.join(sorted(row.kinds))}" if row.kinds else "0"
        may = "yes" if place in DECLARED else "no"
        lines.append(f"| {place} | {row.n_files} | {row.n_bytes / 1e6:.2f} | {found} | {may} |")
    return lines
