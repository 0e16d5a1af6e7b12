"""Folders of the kind that people have, and in which a reader of paths sees more than a name."""

from hypothesis import strategies as st

ODD_FOLDERS = (
    "a b",
    "My%20Drive",
    "a?b",
    "a#b",
    "g[ab]",
    "a[/b]",
    "st*r",
    "back\\slash",
    "quo'te",
    'dou"ble',
    "new\nline",
    "über-数据-🧪",
    "x" * 200,
    "supervision=z",
    "-dash",
    "~tilde",
    "$HOME",
    "semi;colon & and",
    "{brace}",
    "%s%d",
    "a:b@c",
    "trailing ",
    "esc\x1b[31m",
    "s3:",
    "workers",
)


def odd_folders() -> st.SearchStrategy[str]:
    """Any name that a folder of a Linux machine may have and that is text."""
    signs = st.sampled_from("ab %?#[]*\\'\"$;&{}=:@~!|<>`-.+\n\t\x1bé数🧪")
    return st.text(signs, min_size=1, max_size=40).filter(lambda name: name not in (".", ".."))
