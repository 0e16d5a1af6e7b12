"""What a trial is called, for people."""

from workers.contract.trial import Trial


def name_of(trial: Trial) -> str:
    """A name for people, e.g. `free_form · tiny-llama · n=640 · lr=0.003 · seed 11`."""
    spelling = {"train_size": "n={}", "learning_rate": "lr={}", "seed": "seed {}"}
    spelling |= {"shows": "shows {}", "shots": "{} shots", "order_seed": "order {}"}
    return " · ".join(spelling.get(axis, "{}").format(value) for axis, value in trial.coordinates.items())
