"""A launch that a cluster drives itself: a job of Ray, which runs on the head with the code of whoever submits it.

What it is told by its environment (a token, MLflow's password, a hub's cache) is that of the head; none of ours leaves.
"""

import asyncio
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import HTTPError
from urllib.request import urlopen

from ray.dashboard.modules.dashboard_sdk import SubmissionClient
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from orchestrator.execution.on_ray.connection.head import unusable_token
from orchestrator.execution.on_ray.connection.watching import reason_of
from orchestrator.saying.addressing import typed
from workers.contract.answers.roll_call import OURS, TOLD
from workers.contract.errors import ClusterError, ClusterLostError, InputError, Problem, SweepError

# Of a job that is stopped by Ray's own means: trials leave resume points within a minute.
ENDS_WITHIN_S = 120
LOOK_EVERY_S = 1.0
STOPPED = 4
# Each would be taken for the address that was given.
OVERRIDING = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
PROBE = ("python", "-P", "-c", "import ray, typer")
LACKING = "error: the head's `python`: it lacks what sweep needs; activate its environment where `ray start` runs"
# Lines of Ray's own about a job; one repeats the command, and in it errors that were not made.
RAYS_OWN = re.compile(r"[0-9-]+ [0-9:,]+\s+INFO job_manager\.py:|Running entrypoint for job ")
ANSWERS_WITHIN_S = 10
NO_SHARE = "error: {store}: what is written there here is not seen on the head; give a --store that all nodes see"


def submit(address: str, words: Sequence[object], *, job_id: str, commit: str, store: Path, proof: Path) -> None:
    """Hand a command of `sweep` over, with our code for the head and all nodes.

    Args:
        words: All paths absolute.
        proof: A file in the store that the head must see.

    Raises:
        ClusterError: No dashboard answers, or it refuses the token.
    """
    refusal = typed("echo", NO_SHARE.format(store=store))
    command = typed("python", "-P", "-m", "orchestrator.cli", *words)
    lacking = typed("echo", LACKING)
    with _client(address) as client, TemporaryDirectory() as code:
        for package in OURS:  # beside each other, as they are installed
            source = Path(str(import_module(package).__file__)).parent
            shutil.copytree(source, Path(code, package), ignore=shutil.ignore_patterns("__pycache__"))
        client.submit_job(
            entrypoint=f"{typed('test', '-f', proof)} || {{ {refusal} >&2; exit 2; }}; "
            f"{typed(*PROBE)} 2>/dev/null || {{ {lacking} >&2; exit 2; }}; exec {command}",
            submission_id=job_id,
            metadata={"commit": commit},
            runtime_env={
                "working_dir": code,
                "env_vars": {TOLD: commit, "RAY_JOB_STOP_WAIT_TIME_S": str(ENDS_WITHIN_S)},
            },
        )


def follow(
    address: str, job_id: str, *, write: Callable[[str], object], until: Callable[[str], bool] = lambda _: False
) -> int | None:
    """Repeat what a job says, from its beginning; its exit code, or null where a line came up to which it was followed.

    Raises:
        ClusterError: No dashboard answers, or it refuses the token.
        ClusterLostError: The job's end was not its own, or its dashboard went.
        InputError: There is no such job.
    """
    with _client(address) as client:
        known = {job.submission_id for job in client.list_jobs()}
        if job_id not in known:
            others = ", ".join(sorted(filter(None, known))) or "none"
            raise InputError(Problem(job_id or "''", f"is no job of {address}", f"name one of its jobs: {others}"))
        try:
            if asyncio.run(_repeat(client, job_id, write, until)):
                return None
            while not (job := client.get_job_info(job_id)).status.is_terminal():
                time.sleep(LOOK_EVERY_S)
        except Exception as error:  # noqa: BLE001  # as below
            what = f"{job_id}: its dashboard at {address} answers no more ({type(error).__name__})"
            raise ClusterLostError(f"{what}; the launch goes on without it: attach again, or `sweep status`") from None
    if job.driver_exit_code is not None and job.driver_exit_code >= 0:
        return int(job.driver_exit_code)
    if job.status is JobStatus.STOPPED:
        return STOPPED
    raise ClusterLostError(f"{job_id}: Ray ended it ({job.message}); what had ended is kept, submit it again")


async def _repeat(
    client: JobSubmissionClient, job_id: str, write: Callable[[str], object], until: Callable[[str], bool]
) -> bool:
    line = ""
    async for text in client.tail_job_logs(job_id):
        *lines, line = (line + text).split("\n")
        said = [each for each in lines if not RAYS_OWN.match(each)]
        write("".join(f"{each}\n" for each in said))
        if any(map(until, said)):
            return True
    write(line)
    return False


@contextmanager
def _client(address: str) -> Iterator[JobSubmissionClient]:
    for module in ("ray", JobSubmissionClient.__module__, SubmissionClient.__module__):
        logging.getLogger(module).setLevel(logging.CRITICAL)
    for name in OVERRIDING:
        os.environ.pop(name, None)
    if why := unusable_token(os.environ):
        raise ClusterError(f"--address {address}: {why}")
    try:
        _reach(address)
        yield JobSubmissionClient(address)
    except SweepError:
        raise
    except AuthenticationError:
        what = "it refuses this token, or wants one"
        raise ClusterError(f"--address {address}: {what}; export its RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH") from None
    except Exception as error:  # noqa: BLE001  # Ray raises plain ones, and those of two libraries
        raise ClusterError(
            f"--address {address}: no dashboard of Ray takes jobs there ({reason_of(error)}); install ray[default] "
            "where `ray start --head --include-dashboard=true` runs, or reach it by `ssh -L 8265:127.0.0.1:8265 HEAD`"
        ) from None


def _reach(address: str) -> None:
    """Ray's client would wait for ever for one that says nothing; raises where nobody answers in time."""
    with suppress(HTTPError):  # it wants a token, say, and the client has it
        urlopen(f"{address.rstrip('/')}/api/version", timeout=ANSWERS_WITHIN_S).close()
