"""Where the repository keeps what tests read."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SWEEPS = REPOSITORY / "sweeps"
DATA = REPOSITORY / "tests" / "data"
FRAMINGHAM = REPOSITORY / ".data" / "framingham.csv"
SUPPORT2 = REPOSITORY / ".data" / "support2.csv"
