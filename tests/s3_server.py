"""An S3 server on 127.0.0.1 in a process of its own, and a proxy that breaks off connections."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from unittest.mock import patch


def serve() -> None:
    """The server's process: prints its port, and ends with its standard input."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()


@contextmanager
def running() -> Iterator[int]:
    """A server; yields its port."""
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@contextmanager
def logged_in(port: int) -> Iterator[None]:
    """Within this block, and in processes started in it, `s3://` is the server of a port."""
    about = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
    }
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with patch.dict(os.environ, about):
        yield
    s3fs.S3FileSystem.clear_instance_cache()


class Proxy:
    """Passes connections on to a port; breaks `drops` of them off in the middle of an answer.

    Args:
        port: of the server.
        drops: how many connections to break off.
        every: bytes that are passed on before each.
    """

    def __init__(self, port: int, drops: int, every: int) -> None:
        self.target, self.drops, self.every = port, drops, every
        self.passed, self.lock = 0, Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exception: object) -> None:
        self.listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                Thread(target=self._relay, args=(client, server, False), daemon=True).start()
                Thread(target=self._relay, args=(server, client, True), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if answers and self._breaks(len(data)):
                    target.sendall(data[: len(data) // 2])
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _breaks(self, count: int) -> bool:
        with self.lock:
            self.passed += count
            if self.drops and self.passed >= self.every:
                self.drops, self.passed = self.drops - 1, 0
                return True
            return False


if __name__ == "__main__":
    serve()
