"""A real chat endpoint on this machine that behaves as a test says; it keeps what it was sent."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LONGEST_HANG_S = 10
USAGE = {"prompt_tokens": 100, "completion_tokens": 20}


@dataclass(frozen=True)
class Asked:
    """One request as it arrived; `number` counts from 1, `at` is monotonic seconds."""

    number: int
    path: str
    headers: Mapping[str, str]
    body: dict[str, object]
    at: float

    @property
    def user_text(self) -> str:
        """The last message."""
        messages = self.body["messages"]
        assert isinstance(messages, list)
        return str(messages[-1]["content"])


@dataclass(frozen=True)
class Replied:
    """What the server does: a status and a body or, where it hangs, nothing at all."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False


Behaviour = Callable[[Asked], Replied]


def completion(
    content: object, *, finish_reason: str = "stop", usage: Mapping[str, object] = USAGE, refusal: str | None = None
) -> Replied:
    """A chat completion with this content."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return Replied(body=json.dumps({"choices": [choice], "usage": usage}))


def answer(reasoning: str, *, says: str = "yes", cites: int = 1) -> Replied:
    """A chat completion with a valid answer."""
    return completion(reply(reasoning, says=says, cites=cites))


def reply(reasoning: str, *, says: str = "yes", cites: int = 1) -> str:
    """A valid answer."""
    evidence = [{"id": cites, "claim": "bears on risk"}]
    return json.dumps({"evidence": evidence, "reasoning": reasoning, "answer": says, "confidence": 0.7})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # with the default of 5, a further connection waits a second for its second packet


class ChatServer:
    """Listens on a free port of 127.0.0.1."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.asked: list[Asked] = []
        self._behaviour = behaviour
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def base_url(self) -> str:
        """What a study would write."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        """Stop listening; requests that hang end, and open connections answer no more."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        chat = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # connections stay open, as with a real one

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if chat._closing.is_set():
                    self.close_connection = True
                    return
                with chat._lock:
                    asked = Asked(len(chat.asked) + 1, self.path, dict(self.headers), body, time.monotonic())
                    chat.asked.append(asked)
                replied = chat._behaviour(asked)
                if replied.hangs:
                    chat._closing.wait(LONGEST_HANG_S)
                    self.close_connection = True
                    return
                content = replied.body.encode()
                self.send_response(replied.status)
                for name, value in replied.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Write no request log."""

        return Handler


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[ChatServer]:
    """A server for as long as the block lasts."""
    server = ChatServer(behaviour)
    try:
        yield server
    finally:
        server.close()
