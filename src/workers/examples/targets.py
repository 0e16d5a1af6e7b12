"""What a model is trained to write after the prompt: a rationale or none, then one line `Answer: yes|no`."""

DELIMITER = "Answer:"
WORDS = {True: "yes", False: "no"}


def answer_line(has_event: bool) -> str:
    """The last line of every target."""
    return f"{DELIMITER} {WORDS[has_event]}"


def target_text(rationale: str, *, has_event: bool) -> str:
    """The whole target: the rationale on its own line, if there is one, and the answer line."""
    line = answer_line(has_event)
    return f"{rationale}\n{line}" if rationale else line
