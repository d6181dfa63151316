"""A server on loopback that says what a test tells it to."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def said(text, *, finish="stop", usage=(100, 10)):
    """A chat completion."""
    message = {"role": "assistant", "content": text}
    counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return 200, {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {**counts, "total_tokens": sum(usage)},
    }


def prefers(letter):
    return said(json.dumps({"comparison": "It is.", "preferred": letter}))


def fails(status, message="no", **headers):
    return status, {"error": {"message": message}}, headers


class Stub:
    """``answer(request)`` gives (status, body[, headers]); ``requests`` are the parsed bodies of all of them."""

    def __init__(self, answer):
        self.answer = answer
        self.requests = []
        self.keys = []
        self.times = []
        self.lock = threading.Lock()

    @property
    def calls(self):
        return len(self.requests)


@contextmanager
def serve(answer):
    """Run a stub; gives it, with ``url``. A list of answers is gone through, the last one for ever."""
    if isinstance(answer, list):
        answers = list(answer)

        def answer(_):
            return answers.pop(0) if len(answers) > 1 else answers[0]

    stub = Stub(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._send(404, {"error": {"message": "no list of models"}}, {})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with stub.lock:
                stub.requests.append(body)
                stub.keys.append(self.headers.get("Authorization", ""))
                stub.times.append(time.monotonic())
                status, content, *headers = stub.answer(body)
            if status == "hang":
                time.sleep(content)
                return
            self._send(status, content, headers[0] if headers else {})

        def _send(self, status, content, headers):
            data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
