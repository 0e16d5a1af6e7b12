"""Addresses of services and what must not be in them: who comes and with which key is the environment's to know."""

import re

# What stands before a host, and after a path, in any text.
SECRET_PARTS = re.compile(r"(://)(?:[^\s\"']*@)?([^\s\"'?#]*)(?:[?#][^\s\"']*)?")


def holds_credentials(address: str) -> bool:
    """Whether an address says more than host and path: a user, a key in a query, or something taken for one."""
    return any(mark in address for mark in "@?#")


def without_credentials(text: str) -> str:
    """The text with every address in it cut to scheme, host and path."""
    return SECRET_PARTS.sub(r"\1\2", text)
