"""A study file as text: its plain data, and the line and wording of every value in it.

Knows YAML 1.2 (`1e-4` is a number, `yes` is text), not what a study is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.study.text.yaml_text import MAX_BYTES, Refusal, parse
from workers.contract.addresses import without_credentials
from workers.contract.errors import InputError, Problem
from workers.contract.files import read_regular

# Keys and list positions from the top of the file: ("axes", "learning_rate", 0).
Location = tuple[str | int, ...]

# Longer values are cut in messages; a SHA-256 is not.
MAX_SHOWN = 64
# What a value is called that is not there.
NOTHING = "nothing"


@dataclass(frozen=True)
class StudySource:
    """A file that is a YAML mapping; `data` holds JSON values only."""

    path: Path
    text: str
    root: MappingNode
    data: dict[str, Any]

    def value(self, at: Location) -> Any:  # noqa: ANN401  a JSON value, of whatever type the user wrote
        """The value at a location, None where there is none."""
        value: Any = self.data
        for part in at:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def line(self, at: Location) -> int:
        """Line of a key or list item, from 1; of the nearest one above it where the file does not have it."""
        return self._find(at)[1]

    def written(self, at: Location) -> str:
        """The value as the user wrote it, on one line and without the credentials of an address."""
        node = self._find(at)[0]
        if node is None:
            return NOTHING
        words = without_credentials(" ".join(self.text[node.start_mark.index : node.end_mark.index].split()))
        return words if len(words) <= MAX_SHOWN else f"{words[:MAX_SHOWN]}…"

    def has_lost_space(self, at: Location) -> bool:
        """Whether a bare word has more white space before it than a list needs."""
        node = self._find(at)[0]
        if not isinstance(node, ScalarNode) or node.style:
            return False
        before = self.text[: node.start_mark.index].rpartition("\n")[2]
        bare = before.rstrip(" ")
        return bool(bare) and len(before) - len(bare) > (0 if bare.endswith("[") else 1)

    def problem(self, at: Location, *, what: str, remedy: str) -> Problem:
        """A problem with the value at a location."""
        return Problem(where=spell(at), what=what, remedy=remedy, line=self.line(at))

    def repeated_keys(self) -> list[Problem]:
        """Keys that stand twice in one mapping; YAML would silently keep one of them."""
        return [
            Problem(spell(at), f"is on line {first} already", "keep one of the two", line)
            for at, first, line in _repeats(self.root, ())
        ]

    def _find(self, at: Location) -> tuple[Node | None, int]:
        node: Node = self.root
        line = node.start_mark.line + 1
        for part in at:
            found = _child(node, part)
            if found is None:
                return None, line
            node, line = found
        return (node if node.start_mark.index < node.end_mark.index else None), line


def spell(at: Location) -> str:
    """A location as people write it: `axes.learning_rate[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(".")


def read_source(path: Path) -> StudySource:
    """Read a study file without judging what it says.

    Raises:
        InputError: The file is missing, unreadable, empty, not YAML, or not a mapping.
    """
    text = _read_text(path)
    try:
        root, data = parse(text)
    except MarkedYAMLError as error:
        raise InputError(_yaml_problem(path, error)) from None
    if data is None:
        raise InputError(Problem(str(path), "is empty", "start from a copy of sweeps/quickstart.yaml"))
    if not isinstance(root, MappingNode) or not isinstance(data, dict):
        remedy = "start with `study: <name>`, as sweeps/quickstart.yaml does"
        raise InputError(Problem(str(path), "is not a mapping of keys to values", remedy, line=1))
    return StudySource(path=path, text=text, root=root, data=data)


def _read_text(path: Path) -> str:
    try:
        return read_regular(path, at_most=MAX_BYTES).decode()
    except FileNotFoundError:
        raise InputError(Problem(str(path), "does not exist", "name a study file, such as one in sweeps/")) from None
    except UnicodeDecodeError:
        if is_zipfile(path):
            raise InputError(Problem(str(path), "is an archive", "unpack it, and name what was in it")) from None
        raise InputError(Problem(str(path), "is not UTF-8 text", "save it as UTF-8")) from None
    except OSError as error:
        remedy = "name a study file that you may read"
        raise InputError(Problem(str(path), f"can't be read ({error.strerror})", remedy)) from None


def _yaml_problem(path: Path, error: MarkedYAMLError) -> Problem:
    line = error.problem_mark.line + 1 if error.problem_mark is not None else None
    if isinstance(error, Refusal):
        return Problem(str(path), error.what, error.remedy, line)
    reason = error.problem or error.context or "can't be parsed"
    if "\\t" in reason:
        return Problem(str(path), "is indented with a tab, which YAML forbids", "use spaces", line)
    if "another document" in reason:
        return Problem(str(path), "holds more than one document", "keep one study in a file", line)
    return Problem(str(path), f"is not YAML: {reason}", "mend brackets, quotes and indentation up to here", line)


def _child(node: Node, part: str | int) -> tuple[Node, int] | None:
    """The node one step below, and the line of its key or item."""
    if isinstance(node, MappingNode):
        pairs = ((value, key.start_mark.line + 1) for key, value in node.value if key.value == part)
        return next(pairs, None)
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part].start_mark.line + 1
    return None


def _repeats(node: Node, at: Location) -> Iterator[tuple[Location, int, int]]:
    """Location, first line and later line of each key that repeats another."""
    if isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeats(item, (*at, index))
    if isinstance(node, MappingNode):
        first_lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in first_lines:
                yield (*at, name), first_lines[name], line
            first_lines.setdefault(name, line)
            yield from _repeats(value, (*at, name))
