"""What a Ray of our own starts for each worker: a script that asks the nursery for the worker's process, and ends.

Where no nursery answers, or Ray asks for more than a script of Python, it becomes what Ray would have started.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from workers.attempt.nursery import Birth, is_born

NURSERY = "SWEEP_NURSERY"
CONTEXT, LANGUAGE = "--serialized-runtime-env-context=", "--language="
RAYS_OWN = "setup_worker.py"


def main() -> None:
    """Take Ray's words as its own script does."""
    words, environment = sys.argv[1:], dict(os.environ)
    address = environment.pop(NURSERY, "")
    if is_plain(words, environment) and is_born(Birth.here([*filter(is_workers, words)], environment), address):
        return
    script = next(word for word in words if word.endswith(".py"))
    os.execv(sys.executable, [sys.executable, "-P", str(Path(script).with_name(RAYS_OWN)), *words])


def is_workers(word: str) -> bool:
    """Whether a word is meant for the worker itself."""
    return not word.startswith((CONTEXT, LANGUAGE))


def is_plain(words: list[str], environment: dict[str, str]) -> bool:
    """Whether they ask for a script in this very Python, and variables at most, which the environment gets."""
    told = next((word.removeprefix(CONTEXT) for word in words if word.startswith(CONTEXT)), "{}")
    context: dict[str, Any] = json.loads(told)
    added: dict[str, str] = context.pop("env_vars", {})
    environment |= added
    is_ours = words[0].endswith(".py") and context.pop("py_executable", sys.executable) == sys.executable
    return is_ours and not any(context.values()) and "$" not in "".join(added.values())


if __name__ == "__main__":
    main()
