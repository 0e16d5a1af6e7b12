"""YAML 1.2 as nodes that know their line, and as the JSON values that it stands for; bounded before it is built.

Pure Python takes about 70 µs a node. What ten aliases of ten aliases stand for is counted, and never made.
"""

import json
import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, MaxDepthExceededError
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, StringMark
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

# The largest study here takes 3 kB, 250 nodes and 5 levels; what fills the bounds is read in about a second.
MAX_BYTES = 256 * 1024
MAX_NODES = 10_000
MAX_DEPTH = 32
# No name, path or text of a person holds one; they steer terminals and end C strings.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
STANDARD = "tag:yaml.org,2002:"
MERGE, TIMESTAMP = f"{STANDARD}merge", f"{STANDARD}timestamp"
TAGS = {MERGE, TIMESTAMP, *(STANDARD + kind for kind in ("str", "int", "float", "bool", "null", "seq", "map"))}
# How the library fails, beside its own errors, on text such as `!<` or a tag of odd bytes.
SLIPS = (ReaderError, IndexError, KeyError, ValueError, TypeError, AttributeError, AssertionError, NotImplementedError)
PLAIN = "write plain values, as sweeps/quickstart.yaml does"


class Refusal(MarkedYAMLError):
    """What a study file may not hold, though YAML may."""

    def __init__(self, what: str, remedy: str, mark: StringMark | None) -> None:
        super().__init__(problem=what, problem_mark=mark)
        self.what, self.remedy = what, remedy


def parse(text: str) -> tuple[Node | None, Any]:
    """A document twice: as nodes, and as JSON values; keys are text, as they are written.

    Raises:
        YAMLError: It is no YAML, or more than a study may hold (`Refusal`).
    """
    if found := CONTROL.search(text):
        raise Refusal(
            *_no_control(found[0]), StringMark(None, found.start(), text.count("\n", 0, found.start()), 0, None, None)
        )
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer, yaml.max_depth = _BoundedComposer, MAX_DEPTH
    constructor, _ = yaml.get_constructor_parser(text)
    try:
        root: Node | None = constructor.composer.get_single_node()
    except MaxDepthExceededError as error:
        raise Refusal(*TOO_DEEP, error.problem_mark) from None
    except SLIPS:
        raise Refusal("is not YAML", "mend brackets, quotes and tags up to here", yaml.reader.get_mark()) from None
    value = None if root is None else _plain(root, constructor)
    return root, json.loads(json.dumps(value, default=str))


class _BoundedComposer(Composer):
    """Refuses while it composes: too much, too deep, in a circle, or of a kind that JSON does not know."""

    def __init__(self, loader: Any = None) -> None:  # noqa: ANN401  # the library's
        super().__init__(loader=loader)
        self.warn_double_anchors = False  # YAML lets a later value take the name
        self._sizes: dict[int, int] = {}
        self._heights: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401  # the library's
        """The next node, weighed with all that it stands for."""
        node = super().compose_node(parent, index)
        if id(node) not in self._sizes:
            _check(node)
            self._weigh(node)
        return node

    def return_alias(self, a: Any) -> Any:  # noqa: ANN401  # the library's
        """What an alias stands for, which must be whole by now."""
        if id(a) not in self._sizes:
            raise Refusal("holds a value that is a part of itself", PLAIN, a.start_mark)
        return a

    def _weigh(self, node: Node) -> None:
        children = _children(node)
        size = 1 + sum(self._sizes[id(child)] for child in children)
        height = 1 + max((self._heights[id(child)] for child in children), default=0)
        if max(size, len(self._sizes)) > MAX_NODES:
            what = f"holds more than {MAX_NODES:,} values, aliases written out"
            raise Refusal(what, "keep tables in files, and axes short", node.start_mark)
        if height > MAX_DEPTH:
            raise Refusal(*TOO_DEEP, node.start_mark)
        self._sizes[id(node)], self._heights[id(node)] = size, height


TOO_DEEP = (f"is nested more than {MAX_DEPTH} levels deep", PLAIN)


def _no_control(character: str) -> tuple[str, str]:
    return f"holds the control character U+{ord(character):04X}", "take it out"


def _check(node: Node) -> None:
    """Refuse tags, keys and characters that no study needs."""
    if (tag := str(node.tag)) not in TAGS:
        raise Refusal(f"holds a value tagged {tag.removeprefix(STANDARD)[:40]}", PLAIN, node.start_mark)
    if isinstance(node, ScalarNode) and (found := CONTROL.search(node.value)):
        raise Refusal(*_no_control(found[0]), node.start_mark)
    for key, _ in node.value if isinstance(node, MappingNode) else ():
        if not isinstance(key, ScalarNode):
            raise Refusal("has a key that is a list or a mapping", "write a word", key.start_mark)


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _plain(node: Node, constructor: SafeConstructor) -> Any:  # noqa: ANN401  # a JSON value, or a date
    if isinstance(node, SequenceNode):
        return [_plain(child, constructor) for child in node.value]
    if isinstance(node, MappingNode):
        merged = [part for key, value in node.value if key.tag == MERGE for part in _merged(value)]
        whole: dict[str, Any] = {}
        for part in reversed(merged):  # the first of several goes before
            whole |= _plain(part, constructor)
        return whole | {key.value: _plain(value, constructor) for key, value in node.value if key.tag != MERGE}
    try:
        return constructor.construct_object(node)
    except (ValueError, OverflowError, IndexError, MarkedYAMLError):
        kind = "date" if node.tag == TIMESTAMP else str(node.tag).rpartition(":")[2]
        raise Refusal(f"holds {node.value[:40]}, which is no {kind}", "mend it", node.start_mark) from None


def _merged(value: Node) -> list[Node]:
    parts = value.value if isinstance(value, SequenceNode) else [value]
    if not all(isinstance(part, MappingNode) for part in parts):
        raise Refusal("merges something that is no mapping", PLAIN, value.start_mark)
    return list(parts)
