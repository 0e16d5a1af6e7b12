"""What MLflow shows of a study as a whole: its note, its saved views, and the numbers of its parent run; pure.

A saved view is a tag of the experiment, in the form in which MLflow's own page keeps what a user saves there.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.store.sealing import Standing
from orchestrator.tracking.metrics import CURVES, auc_of
from orchestrator.tracking.projection import IN_DESIGN, LONGEST_TAG, STATE, plan_tags

UNSEALED = Standing()
NOTE = "mlflow.note.content"
# On the parent run: of which outcomes its answer is.
ANSWERED = "sweep.answered"
VIEW = "mlflow.sharedViewState."
ViewName = Literal["Scores", "Curves", "Failures"]
# In MLflow's menu the newest is first.
VIEWS: tuple[ViewName, ...] = ("Scores", "Curves", "Failures")
# The same for all runs of ours, so that the newest come first and none is folded below its parent.
NEWEST = "tags.`mlflow.user`"
# Columns of MLflow's table, by its names.
RUN_NAME, DURATION = "attributes.`Run Name`", "attributes.`Duration`"
NAME_WIDTH_PX, NUMBER_WIDTH_PX = 420, 150
# Beyond what MLflow takes in the name of a metric.
NO_METRIC = re.compile(r"[^\w\-. :/]", re.ASCII)


@dataclass(frozen=True)
class StudyAnswer:
    """What an analysis found: in words, and each contrast's difference in AUC with its bounds, as far as it has any.

    basis: Which outcomes it follows from.
    """

    text: str
    contrasts: Mapping[str, tuple[float, float | None, float | None]]
    basis: str

    @property
    def metrics(self) -> dict[str, float]:
        """By the names of metrics, a contrast beside its bounds."""
        return {
            f"contrast/{NO_METRIC.sub('_', name)[:200]}{end}": value
            for name, estimate in self.contrasts.items()
            for end, value in zip(("", "_low", "_high"), estimate, strict=True)
            if value is not None
        }


@dataclass(frozen=True)
class StudyProgress:
    """How many trials of a study, controls included, have an outcome, failed, run and wait; hours left, if known."""

    n_done: int
    n_failed: int
    n_running: int = 0
    n_waiting: int = 0
    hours_left: float | None = None

    @property
    def n_ended(self) -> int:
        """Those that wait for nothing more."""
        return self.n_done + self.n_failed

    @property
    def metrics(self) -> dict[str, float]:
        """By the names of metrics."""
        counts = {"done": self.n_done, "failed": self.n_failed, "running": self.n_running, "waiting": self.n_waiting}
        hours = {} if self.hours_left is None else {"hours_left": self.hours_left}
        return {f"progress/{name}": float(value) for name, value in (counts | hours).items()}


@dataclass(frozen=True)
class StudyPage:
    """A study as its page shows it; `axes` are those on which its trials differ."""

    study: str = ""
    question: str = ""
    plan: Standing = UNSEALED
    axes: tuple[str, ...] = ()

    @property
    def tags(self) -> dict[str, str]:
        """Of the parent run, whatever was found."""
        return plan_tags(self.plan)

    def note(self, answer: str, *, experiment_id: str = "") -> str:
        """In Markdown, the answer first, as its beginning alone is seen; with an experiment's id it leads to views."""
        links = " · ".join(f"[{name}]({place_of(name, experiment_id)})" for name in VIEWS) if experiment_id else ""
        parts = (answer, f"**{self.question}**" if self.question else "", str(self.plan), links)
        return "\n\n".join(part for part in parts if part)[:LONGEST_TAG]

    def views(self) -> dict[str, str]:
        """The tags that are the saved views."""
        return {f"{VIEW}{name.lower()}": self._saved(name, n) for n, name in enumerate(reversed(VIEWS))}

    def _saved(self, name: ViewName, age: int) -> str:
        split = "tuning" if self.plan.is_blinded else "held_out"
        score, loss = _metric(auc_of(split)), _metric(CURVES["loss"])
        grid = f"tags.`{IN_DESIGN}` = 'yes' AND tags.`sweep.role` = 'grid'"
        # Runs are folded below their parent in the order of their starts alone: each view has another.
        facets, columns, sections = {
            "Scores": ((grid, score), [score, _metric(f"{split}/invalid_rate")], (split, "train", "cost")),
            "Curves": ((grid, NEWEST), [loss, score], ("train", split, "cost")),
            "Failures": (
                (f"tags.`{STATE}` != 'scored' AND tags.`{STATE}` != 'running'", f"tags.`{STATE}`"),
                [f"tags.`{tag}`" for tag in (STATE, "sweep.failure", "sweep.failed_attempts")],
                ("train", "cost"),
            ),
        }[name]
        axes = [f"params.`{axis}`" for axis in self.axes if axis != "control" or name == "Failures"]
        shown = [*columns, DURATION, *axes]
        state = {
            "searchFilter": facets[0],
            "orderByKey": facets[1],
            "orderByAsc": False,
            "selectedColumns": shown,
            "columnOrder": [RUN_NAME, *shown],
            "columnWidths": {RUN_NAME: NAME_WIDTH_PX, **dict.fromkeys(columns, NUMBER_WIDTH_PX)},
            "runsHiddenMode": "FIRST_20_RUNS",
            "compareRunCharts": [],  # MLflow adds one a metric, in the section of its name
            "compareRunSections": [
                {
                    "uuid": name,
                    "name": name,
                    "display": True,
                    "isReordered": False,
                    "deleted": False,
                    "isGenerated": True,
                }
                for name in sections
            ],
            "isAccordionReordered": True,
        }
        return json.dumps({"name": name, "createdAt": age, "updatedAt": age, "state": json.dumps(state)})


def place_of(name: ViewName, experiment_id: str) -> str:
    """Where a saved view opens, below the address of MLflow's page."""
    charts = "&compareRunsMode=CHART" if name == "Curves" else ""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={name.lower()}{charts}"


def _metric(name: str) -> str:
    return f"metrics.`{name}`"
