"""An OpenAI-compatible chat server on loopback that answers as a test says, well or badly."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text):
    """The body of a chat completion with that text."""
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


class ChatStandIn:
    """answer: called with the body of a request, gives text for a completion, or bytes for a body as it is.

    status, headers: of the response. drip_s: pause after each byte. asked: bodies, tokens: Authorization headers so far.
    """

    def __init__(self):
        self.answer = lambda body: '{"finished": "nothing to do"}'
        self.status, self.headers, self.drip_s = 200, {}, 0.0
        self.asked, self.tokens, self.paths = [], [], []
        self.ended = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body)
                outer.tokens.append(self.headers.get("Authorization"))
                outer.paths.append(self.path)
                answer = outer.answer(body)
                data = answer if isinstance(answer, bytes) else completion(answer)
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    outer.write(self.wfile, data)
                except OSError:
                    return  # the client has gone

            def log_message(self, *_):
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def write(self, out, data):
        if not self.drip_s:
            out.write(data)
            return
        for byte in data:
            out.write(bytes([byte]))
            out.flush()
            if self.ended.wait(self.drip_s):
                return

    def sleep(self, seconds):
        """For answers that come late; cut short at the end of the test."""
        self.ended.wait(seconds)

    def close(self):
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(timeout=5.0)
