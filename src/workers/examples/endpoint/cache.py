"""Valid answers of a teacher's endpoint by the hash of what was asked: participant data, private to the user.

One file a key, created by an exclusive link: of two nodes that ask the same, the first answer counts for both. What a
store beside was answered to the same question, which holds the record itself, is copied and not asked again.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from workers.contract.files import read_regular
from workers.contract.system.durable import link_exclusive
from workers.examples.endpoint.wording import TeacherReply


class KeptAnswer(BaseModel):
    """An answer and what it cost; tokens as the server counted them, 0 where it does not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer: TeacherReply
    prompt_tokens: int
    completion_tokens: int
    is_schema_enforced: bool


@dataclass(frozen=True)
class AnswerCache:
    """A folder of answers, safe for threads, processes and nodes that share it; `others` are only read."""

    folder: Path
    others: tuple[Path, ...] = ()

    @classmethod
    def of_store(cls, folder: Path) -> Self:
        """A store's own, and those of the same user's stores beside it."""
        found = folder.parent.parent.glob(f"*/{folder.name}")
        return cls(folder, tuple(sorted(path for path in found if path != folder and _is_ours(path))))

    def find(self, key: str) -> KeptAnswer | None:
        """The answer to what has this key; a damaged file is removed and counts as none."""
        path = self._path(key)
        try:
            return KeptAnswer.model_validate_json(read_regular(path))
        except FileNotFoundError:
            pass
        except ValidationError:
            path.unlink(missing_ok=True)
        for other in self.others:
            with suppress(OSError, ValidationError):
                return self.keep(key, KeptAnswer.model_validate_json(read_regular(other / _name(key))))
        return None

    def keep(self, key: str, answer: KeptAnswer) -> KeptAnswer:
        """Store an answer, durably, and return the one that counts: this, or an earlier one of the same key."""
        if link_exclusive(self._path(key), answer.model_dump_json().encode()):
            return answer
        return self.find(key) or answer

    def _path(self, key: str) -> Path:
        return self.folder / _name(key)


def _name(key: str) -> Path:
    return Path(key[:2], f"{key}.json")


def _is_ours(folder: Path) -> bool:
    """Whether we made it: what others put there could be anything."""
    return folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid()
