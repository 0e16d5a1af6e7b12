"""The head of a cluster that runs: how its address is written, and whether it lets us in.

It is asked by a process of its own: Ray would ask for half a minute, write a line a second beside ours, and abort the
process whose token file is empty.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from orchestrator.execution.on_ray.connection.watching import LOOK_EVERY_S_AT_START, why_silent
from workers.contract.addresses import holds_credentials
from workers.contract.errors import ClusterError, InputError, Problem

AUTO = "auto"
LAST_PORT = 2**16 - 1
# A name of labels, or IPv6 in brackets.
HOST = r"(?=.{1,253}:\d+$)[\w-]{1,63}(\.[\w-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\]"
REMEDY = "write the HOST:PORT of its head, auto on a machine of the cluster, or leave it out to use this machine"
# What an address of another kind says instead, by how it begins.
OTHERS = {
    "http": "is that of a dashboard, which takes a launch with --detach alone",
    "ray": "is that of a server of Ray Client, by which no launch runs",
}
# Ray takes any other mode for `disabled`, without a word.
MODES = ("token", "disabled")
# Seconds for the head's answer, once Ray is imported.
ANSWERS_WITHIN_S = 10
NO_HEAD = "something listens there that answers as no head of Ray does; give the HOST:PORT of `ray start --head`"
NOBODY_HERE = "no Ray runs on this machine; start one with `ray start --head`, or give the HOST:PORT of its head"
TOKENLESS = "it wants a token, and RAY_AUTH_MODE is {mode}; export RAY_AUTH_MODE=token and its RAY_AUTH_TOKEN_PATH"
OTHER_VERSIONS = "Ray {} on Python {} runs there, and Ray {} on Python {} here; install the same"
WRONG_TOKEN = "it refuses the token of {source}; copy that of its head (cluster/README.md)"


def head_address(text: str) -> str:
    """`auto`, or HOST:PORT.

    Raises:
        InputError: It is neither.
    """
    if text == AUTO:
        return text
    if holds_credentials(text):
        raise InputError(Problem("--address", "holds more than a host and its port", REMEDY))
    scheme, is_other, _ = text.partition("://")
    if is_other:
        what = OTHERS.get(scheme.removesuffix("s"), "is that of something else than Ray")
        raise InputError(Problem("--address", f"{text} {what}", REMEDY))
    found = re.fullmatch(rf"({HOST}):(?P<port>[0-9]{{1,5}})", text, re.ASCII)
    if found is None or not 0 < int(found["port"]) <= LAST_PORT:
        what = f"{text!r} is no HOST:PORT, as 10.0.0.1:6379, whose port is 1 to {LAST_PORT}"
        raise InputError(Problem("--address", what, REMEDY))
    return text


def knock(address: str) -> None:
    """Ask a head whether it lets us in.

    Raises:
        ClusterError: Nobody answers, the token is missing or refused, or Ray there is another version.
    """
    what = unusable_token(os.environ) or _unheard(address)
    if not what:
        command = [sys.executable, "-P", "-m", __name__, address]
        # A process group of its own: a terminal's signals are for the driver.
        done = subprocess.run(command, capture_output=True, text=True, check=False, process_group=0)
        found, _, against_us = done.stdout.partition("\n")
        what = "" if not done.returncode else against_us or NO_HEAD
        address = f"{address} ({found})" if address == AUTO and found else address
    if what:
        raise ClusterError(f"--address {address}: {what}")


def unusable_token(environ: Mapping[str, str]) -> str:
    """What is wrong with the token that Ray would show, and what to do; empty where that is known to the head alone."""
    mode = environ.get("RAY_AUTH_MODE") or "disabled"
    if mode.lower() not in MODES:
        return f"RAY_AUTH_MODE: {mode!r} is no mode of Ray; export RAY_AUTH_MODE=token, or unset it"
    if mode.lower() == "disabled" or environ.get("RAY_AUTH_TOKEN"):
        return ""
    path = environ.get("RAY_AUTH_TOKEN_PATH")
    if not path:
        is_kept = (Path(environ.get("HOME") or "~").expanduser() / ".ray" / "auth_token").is_file()
        return "" if is_kept else "RAY_AUTH_MODE is token, and there is none; export RAY_AUTH_TOKEN_PATH"
    try:
        is_empty = not Path(path).read_text("ascii").strip()
    except UnicodeDecodeError:
        return f"RAY_AUTH_TOKEN_PATH: {path} holds no token, which is one line of text; mend the path"
    except OSError as error:
        return f"RAY_AUTH_TOKEN_PATH: {path} can't be read ({error.strerror}); make it, or mend the path"
    return f"RAY_AUTH_TOKEN_PATH: {path} is empty; make it as cluster/README.md says" if is_empty else ""


def _unheard(address: str) -> str:
    """Why nothing listens at HOST:PORT; empty where something does. Ray would wait for ever; this knows in seconds."""
    if address == AUTO:
        return ""
    if why := why_silent(address):
        return (
            f"nothing listens there ({why}); start a head with `ray start --head`, give its HOST:PORT, "
            "or leave --address out to use this machine"
        )
    return ""


def _answer(address: str) -> str:
    """What the head says against us; empty where it lets us in. Ends the process where it says nothing."""
    from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
    from ray._private.ray_constants import KV_NAMESPACE_CLUSTER
    from ray._private.services import canonicalize_bootstrap_address
    from ray._private.utils import compute_version_info
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
    from ray.exceptions import AuthenticationError

    signal.alarm(ANSWERS_WITHIN_S)
    if address == AUTO:
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)  # as `ray.init` does
    try:
        there = canonicalize_bootstrap_address(address)
    except ConnectionError:
        return f"\n{NOBODY_HERE}"
    except ValueError:
        return f"\nRAY_ADDRESS: {os.environ['RAY_ADDRESS']!r} is no HOST:PORT; mend it, or unset it"
    sys.stdout.write(f"{there}\n")
    sys.stdout.flush()
    if silent := _unheard(there):
        return silent
    mode = os.environ.get("RAY_AUTH_MODE") or "not set"
    try:
        head = GcsClient(address=there)
        while (written := head.internal_kv_get(CLUSTER_METADATA_KEY, namespace=KV_NAMESPACE_CLUSTER)) is None:
            time.sleep(LOOK_EVERY_S_AT_START)  # one that has just started
    except AuthenticationError:
        source = "RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else os.environ.get("RAY_AUTH_TOKEN_PATH")
        refused = WRONG_TOKEN.format(source=source or "~/.ray/auth_token")
        return refused if mode.lower() == "token" else TOKENLESS.format(mode=mode)
    known = json.loads(written)
    theirs, ours = (known["ray_version"], known["python_version"]), compute_version_info()
    return "" if theirs == ours else OTHER_VERSIONS.format(*theirs, *ours)


if __name__ == "__main__":
    sys.stdout.write(against_us := _answer(sys.argv[1]))
    sys.exit(bool(against_us))
