"""How a path is said to others: to SQLAlchemy as a URI, and to a shell as a word; and which paths can't be said.

A folder may be called `My%20Drive`, `a?b` or `[ab]`: each reader decodes in its own way, so nobody else writes a URI.
Patterns are matched below a folder (`Path.glob`), never put together from its name.
"""

import re
import shlex
from pathlib import Path
from urllib.parse import quote, unquote

from workers.contract.errors import InputError, Problem

# With its driver: where the name is `sqlite` alone, MLflow makes a folder of the undecoded path beside the right one.
SQLITE = "sqlite+pysqlite:///"
SQLITE_FORM = re.compile(r"sqlite(\+\w+)?:///(?P<path>[^?]*)")
# Bytes of the longest path that SQLite opens: 512, less room for its journal.
LONGEST_DATABASE = 504
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def database_uri(path: Path) -> str:
    """The URI of a SQLite file as SQLAlchemy, and so MLflow, decodes it."""
    return SQLITE + quote(str(path))


def database_path(uri: str) -> Path | None:
    """Where SQLAlchemy looks for the SQLite file of a URI; null for another database."""
    found = SQLITE_FORM.match(uri)
    return Path(unquote(found["path"])) if found else None


def refuse_long_database(path: Path) -> None:
    """Raises InputError where SQLite would not open the file for the length of its path."""
    if (n_bytes := len(str(path).encode())) > LONGEST_DATABASE:
        what = f"MLflow's file would have a path of {n_bytes} bytes, and SQLite opens {LONGEST_DATABASE} at most"
        raise InputError(Problem(str(path.parent), what, "choose a shorter --store, or give --tracking-uri"))


def local_path(text: str | Path) -> Path:
    """A path of the command line.

    Raises:
        InputError: It is empty, the address of something that is no file here, or no UTF-8, which no JSON can hold.
    """
    if not str(text):
        raise InputError(Problem("a path", "is empty", "name one, or leave it out"))
    if URI.match(str(text)):
        what = "is no path: only folders and files of a mounted file system can be used"
        raise InputError(Problem(str(text), what, "name one, or mount it"))
    return sayable(Path(text))


def sayable(path: Path) -> Path:
    """The path itself; raises InputError where its name is no UTF-8: orders, seals and manifests could not name it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(Problem(str(path), "its name is not UTF-8", "rename it, or choose another place")) from None
    return path


def given_text(argument: str) -> str:
    """Text of the command line, where the locale knows ASCII alone too: a terminal sends UTF-8 all the same.

    Raises:
        InputError: It is no UTF-8.
    """
    try:
        return argument.encode(errors="surrogateescape").decode()
    except UnicodeError:
        raise InputError(Problem(argument, "is not UTF-8", "type it in a terminal that sends UTF-8")) from None


def typed(*words: object) -> str:
    """Words of a command line as a person types them into a shell."""
    return " ".join(map(_word, words))


def _word(word: object) -> str:
    text = str(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"
    if text.isprintable():
        return shlex.quote(text)
    # The form of bash, zsh and POSIX 2024 for what can't be printed.
    escaped = "".join(c if c.isprintable() and c not in "\\'" else _escaped(c) for c in text)
    return f"$'{escaped}'"


def _escaped(character: str) -> str:
    return "".join(rf"\x{byte:02x}" for byte in character.encode(errors="surrogateescape"))
