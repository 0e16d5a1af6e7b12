"""One word, one thing: a reader who searches for a class finds one."""

import ast
from collections import defaultdict

from support.places import REPOSITORY


def test_no_public_class_name_stands_for_two_things() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in (REPOSITORY / "src").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(REPOSITORY)))
    twice = {name: found for name, found in homes.items() if len(found) > 1}
    assert twice == {}, f"rename one of each: {twice}"
