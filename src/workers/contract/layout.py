"""Every path in a store, and nothing else; no other module spells one."""

from dataclasses import dataclass
from pathlib import Path


class StorePart:
    """A file or folder of every store, by its path in there."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, store: "StoreLayout", _: object = None) -> Path:
        return store.root / self._name


@dataclass(frozen=True)
class StoreLayout:
    """The folders and files of one study's store."""

    root: Path

    study = StorePart("study.json")
    """The sealed study, as the last `sweep run` read it."""
    analysis_plan = StorePart("analysis_plan.json")
    """What the study is to be judged by, sealed before its first trial ran."""
    unblinding = StorePart("unblinding.json")
    """When the scores on held_out were opened to people, and why."""
    looks = StorePart("looks")
    """What each look at the study found, and whether it ended there."""
    revisions = StorePart("revisions.json")
    """Commits of hub models that were looked up once, by model id."""
    salt = StorePart(".salt")
    """Secret that identifiers are hashed with; mode 0600, never bundled."""
    lock = StorePart("driver.lock")
    """Who drives."""
    stop_request = StorePart("stop")
    """Present while somebody asked the driver to stop."""
    leases = StorePart("leases")
    """Who drives, and who works on what."""
    launches = StorePart("launches")
    """What each launch decided."""
    inputs = StorePart("inputs")
    """What is prepared once."""
    teacher_cache = StorePart("teacher-cache")
    """Answers of teacher endpoints by the hash of what was asked; participant data."""
    orders = StorePart("plans")
    """Work orders of this launch, by trial id."""
    trials = StorePart("trials")
    """Committed trials and their attempts."""
    quarantine = StorePart("quarantine")
    """Outcomes that could not be trusted, kept as evidence."""
    all_attempts = StorePart("attempts")
    """Records of failed attempts, by trial."""
    all_logs = StorePart("logs")
    """Logs, by trial."""
    all_superseded = StorePart("superseded")
    """Outcomes that came after another had been committed, by trial."""
    all_checkpoints = StorePart("checkpoints")
    """Resume points, by training."""
    dataset = StorePart("dataset")
    """The aggregate; derived."""
    dataset_seal = StorePart("dataset/checksums.json")
    """Checksums of the files of the aggregate, and their own."""
    scratch = StorePart("scratch")
    """Ray Tune's own files; may be deleted at any time."""
    tracking_database = StorePart("mlflow.db")
    """MLflow's SQLite file, where no tracking URI is given."""
    tracking_artifacts = StorePart("mlflow-artifacts")
    """MLflow's artifact folder; nothing of ours is stored there."""
    settled = StorePart("settled")
    """Fingerprint of the study and the outcomes that report, dataset and tracking were derived from."""
    report = StorePart("report.html")
    """The HTML page."""
    tripod = StorePart("tripod_llm.json")
    """What a reporting guideline asks of the study, item by item."""
    audit = StorePart("audit.json")
    """What the automatic rationale audit found: aggregates, small counts hidden."""
    agreement = StorePart("agreement.json")
    """What raters of rationales found: aggregates, small counts hidden."""
    audit_keys = StorePart("audit-keys")
    """Keys of annotation sheets: which id stands for which arm and label; private."""
    purges = StorePart("purges")
    """What was removed on purpose, by whom and when, and the outcomes of trials that went."""
    exports = StorePart("exports")
    """Records of adapters that left the store."""

    @property
    def files(self) -> tuple[Path, ...]:
        """What is a file, if it is there."""
        control = (self.study, self.revisions, self.salt, self.lock, self.stop_request, self.settled)
        analysis = (self.analysis_plan, self.unblinding)
        return (*control, *analysis, self.tracking_database, self.report, self.tripod, self.audit, self.agreement)

    @property
    def is_blinded(self) -> bool:
        """Whether nobody may see scores on held_out yet: a plan is sealed, and nothing has opened them."""
        return self.analysis_plan.exists() and not self.unblinding.exists()

    @property
    def entered(self) -> tuple[Path, ...]:
        """What is a folder that holds our files and folders alone, if it is there."""
        records = (self.leases, self.launches, self.orders, self.all_attempts, self.all_logs, self.all_superseded)
        data = (self.inputs, self.teacher_cache, self.trials, self.all_checkpoints, self.dataset, self.audit_keys)
        return (*records, *data, self.looks, self.purges, self.exports)

    @property
    def folders(self) -> tuple[Path, ...]:
        """What is a folder, if it is there; some hold what others wrote, or what was moved out of the way."""
        return (*self.entered, self.quarantine, self.scratch, self.tracking_artifacts)

    def look(self, number: int) -> Path:
        """What the n-th look found, from 1."""
        return self.looks / f"{number}.json"

    def purge(self, number: int) -> Path:
        """The record of the n-th purge, from 1."""
        return self.purges / f"{number}.json"

    def purged_outcome(self, number: int, trial_id: str) -> Path:
        """The outcome of a trial that went in the n-th purge: scores, and no participant."""
        return self.purges / str(number) / f"{trial_id}.json"

    def export(self, trial_id: str, number: int) -> Path:
        """The record of the n-th time that a trial's adapter left, from 1."""
        return self.exports / f"{trial_id}-{number}.json"

    def input(self, recipe_digest: str) -> Path:
        """Folder of one prepared input."""
        return self.inputs / recipe_digest

    def manifest(self, recipe_digest: str) -> Path:
        """The commit of one prepared input: names the folder that counts."""
        return self.input(recipe_digest) / "manifest.json"

    def trial(self, trial_id: str) -> Path:
        """Folder of one trial."""
        return self.trials / trial_id

    def outcome(self, trial_id: str) -> Path:
        """The commit of one trial."""
        return self.trial(trial_id) / "outcome.json"

    def superseded(self, trial_id: str) -> Path:
        """Outcomes that came after another had been committed, `<attempt>.json`; evidence, never counted."""
        return self.all_superseded / trial_id

    def transfer(self, trial_id: str, cohort_digest: str) -> Path:
        """What a trial's adapter scored on another cohort."""
        return self.trial(trial_id) / "transfers" / cohort_digest / "scores.json"

    def quarantined(self, trial_id: str, number: int) -> Path:
        """The n-th outcome of a trial that could not be trusted, from 1."""
        return self.quarantine / f"{trial_id}-{number}.json"

    def attempts(self, trial_id: str) -> Path:
        """Records of failed attempts at one trial."""
        return self.all_attempts / trial_id

    def logs(self, trial_id: str) -> Path:
        """One log an attempt at a trial, `<attempt>.log`: phases and steps, no participant's text."""
        return self.all_logs / trial_id

    def lease(self, trial_id: str, attempt: str) -> Path:
        """Who works on one attempt; advisory, gone when it ends."""
        return self.leases / f"{trial_id}.{attempt}.json"

    def hold(self, number: int) -> Path:
        """Who took the store as its n-th driver, from 1; the newest counts."""
        return self.leases / f"driver-{number}.json"

    def heartbeat(self, number: int) -> Path:
        """A counter that the n-th driver raises while it holds the store."""
        return self.leases / f"driver-{number}.beat"

    def launch(self, number: int) -> Path:
        """What the n-th driver's launch decided, a line each; no participant's text."""
        return self.launches / f"{number}.jsonl"

    def checkpoints(self, training_id: str) -> Path:
        """Resume points of one training; gone after the commit."""
        return self.all_checkpoints / training_id

    def order(self, trial_id: str) -> Path:
        """What the worker is given for one trial."""
        return self.orders / f"{trial_id}.json"
