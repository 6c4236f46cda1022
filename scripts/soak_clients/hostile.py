#!/usr/bin/env python3
"""The ill-behaved clients of scripts/soak.py, each kind on a thread and from a loopback address of its own, because the proxy
has limits per address. A process apart, so that it takes no time from the clients that are measured. Prints, as JSON, how
often each act ended how.
"""
import argparse
import collections
import json
import pathlib
import random
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

import grpc_python
import proxied
from proxied import RawClient, grpc_message

CANCEL = (8).to_bytes(4, "big")  # RST_STREAM's error code
INITIAL_WINDOW = (4).to_bytes(2, "big")  # SETTINGS_INITIAL_WINDOW_SIZE
NUM_RESETS = 10000
NUM_PINGS = 20000
NUM_IDLE = 16
HOLD_S = 45  # over the proxy's limits on what a client may hold without a call, but for http-keep-alive


class Strangers:
    """What all kinds share."""

    def __init__(self, options):
        self.options = options
        self.end = time.monotonic() + options.seconds
        self.pb, _ = grpc_python.make_stubs(options.folder)
        self.outcomes = collections.defaultdict(collections.Counter)

    def run(self):
        threads = [threading.Thread(target=self._repeat, args=(kind, f"127.0.0.{10 + number}"))
                   for number, kind in enumerate(KINDS) if not self.options.kinds or kind.__name__ in self.options.kinds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.outcomes

    def _repeat(self, kind, source):
        choose = random.Random(f"{self.options.seed}/{kind.__name__}")
        while time.monotonic() < self.end:
            try:
                outcome = kind(self, source, choose)
            except OSError as error:
                outcome = f"no connection ({type(error).__name__})"
            self.outcomes[kind.__doc__][outcome] += 1
            time.sleep(max(0, min(choose.uniform(0.2, 1.5), self.end - time.monotonic())))

    def connect(self, source, *frames):
        """A connection that has sent its preface, and these frames."""
        client = RawClient(self.options.port, self.options.certificate, source)
        client.send(client.preface(), *frames)
        return client

    def connect_tcp(self, source):
        return socket.create_connection(("127.0.0.1", self.options.port), timeout=10, source_address=(source, 0))

    def long_request(self, **params):
        pb = self.pb
        return grpc_message(pb.GenerateRequest(text="Once upon a time", params=pb.RequestParams(
            stopping=pb.StoppingParams(max_tokens=400, ignore_eos=True), **params)))

    def watch(self, connection, seconds):
        """Holds a connection and reads what comes: how it ended."""
        end = min(self.end, time.monotonic() + seconds)
        connection.settimeout(0.5)
        while time.monotonic() < end:
            try:
                if not connection.recv(65536):
                    return "closed by the other side"
            except TimeoutError:
                pass
            except OSError:
                return "closed by the other side"
        return "held to the end"


def killed(strangers, source, choose):
    """`bitdial client`, killed in the middle of its answer"""
    options = strangers.options
    tls = ["--tls-ca", options.certificate] if options.certificate else []
    client = subprocess.Popen([options.bitdial, "client", "--server", f"localhost:{options.port}", *tls, "--prompt",
                               "Once upon a time", "--max-tokens", "400", "--ignore-eos"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
    has_begun = bool(client.stdout.read(1))
    time.sleep(choose.uniform(0, 0.1))
    client.send_signal(signal.SIGKILL)
    client.stdout.close()
    return "killed" if client.wait() == -signal.SIGKILL and has_begun else "had no answer, or had ended"


def crashed(strangers, source, choose):
    """connections reset in the middle of answers"""
    message = strangers.long_request(n=choose.choice((1, 4)))
    client = strangers.connect(source, *(RawClient.headers(stream) + RawClient.frame(RawClient.DATA, 1, stream, message)
                                         for stream in (1, 3, 5)))
    _, has_closed = client.receive_until(lambda frames: any(kind == RawClient.DATA for kind, _, _ in frames))
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() sends a reset
    client.close()
    return "had no answer" if has_closed else "reset"


def slow_reader(strangers, source, choose):
    """answers that are not read"""
    pb = strangers.pb
    message = strangers.long_request(n=8, output=pb.OutputParams(logprobs=True, top_logprobs=20))
    window = choose.choice((0, 100, 5000)).to_bytes(4, "big")
    client = strangers.connect(source, RawClient.frame(RawClient.SETTINGS, 0, 0, INITIAL_WINDOW + window),
                               RawClient.headers(1), RawClient.frame(RawClient.DATA, 1, 1, message))
    client.socket.settimeout(40)
    try:
        frames, has_closed = client.receive_until(lambda frames: ended_frame(frames, 1) or time.monotonic() > strangers.end)
        frame = ended_frame(frames, 1)
        return frame or ("closed by the other side" if has_closed else "held to the end")
    except TimeoutError:
        return "held for 40 s"
    finally:
        client.close()


def ended_frame(frames, stream):
    """How the other side ended a stream; None: not yet. Trailers are its second HEADERS."""
    kinds = [kind for kind, number, _ in frames if number == stream]
    if RawClient.RST_STREAM in kinds:
        return "stream reset by the other side"
    return "ended with a status" if kinds.count(RawClient.HEADERS) > 1 else None


def idle(strangers, source, choose):
    """connections that say nothing"""
    connections = []
    for _ in range(NUM_IDLE):
        connections.append(strangers.connect_tcp(source) if choose.random() < 0.5 else strangers.connect(source).socket)
    outcome = strangers.watch(connections[0], choose.uniform(2, 15))
    for connection in connections:
        connection.close()
    return outcome


def rapid_reset(strangers, source, choose):
    """rapid reset (CVE-2023-44487): streams opened and reset"""
    message = strangers.long_request()
    client = strangers.connect(source)
    client.socket.settimeout(10)
    for first in range(1, 2 * NUM_RESETS, 400):
        sent = client.send(*(RawClient.headers(i) + RawClient.frame(RawClient.DATA, 1, i, message) +
                             RawClient.frame(RawClient.RST_STREAM, 0, i, CANCEL) for i in range(first, first + 400, 2)))
        if not sent or time.monotonic() > strangers.end:
            break
    client.close()
    return "all were taken" if sent else "refused part of the way"


def giant_metadata(strangers, source, choose):
    """headers of 60 kB, and headers without an end"""
    endless = choose.random() < 0.5
    first = bytearray(RawClient.headers(1))
    first[4] = 0  # no END_HEADERS
    field = b"\0\2xx\x7f\x81\7" + bytes(256)  # 256 bytes of value
    frames = [RawClient.frame(RawClient.CONTINUATION, 0, 1, field * 60) for _ in range(200 if endless else 4)]
    client = strangers.connect(source, bytes(first))
    client.socket.settimeout(5)
    sent = client.send(*frames, b"" if endless else RawClient.frame(RawClient.CONTINUATION, 4, 1))
    try:
        frames, has_closed = client.receive_until(lambda frames: any(stream == 1 for _, stream, _ in frames))
    except TimeoutError:
        frames, has_closed = [], False
    client.close()
    size = "without an end" if endless else "60 kB"
    return f"{size}: " + ("closed" if has_closed or not sent else "refused" if frames else "no answer in 5 s")


def flood(strangers, source, choose):
    """PING and SETTINGS frames without reading"""
    client = strangers.connect(source)
    client.socket.settimeout(5)
    kind, frame = choose.choice((("PING", RawClient.frame(RawClient.PING, 0, 0, bytes(8))),
                                 ("SETTINGS", RawClient.frame(RawClient.SETTINGS, 0, 0))))
    is_taken = all(client.send(frame * 1000) for _ in range(NUM_PINGS // 1000))
    client.close()
    return f"{kind}: " + ("all were taken" if is_taken else "refused part of the way")


def garbage(strangers, source, choose):
    """random bytes: to the port, after the preface, as a frame, as a message"""
    noise = choose.randbytes(choose.randint(1, 4000))
    where = choose.choice(("port", "connection", "frame", "message"))
    if where == "port":
        connection = strangers.connect_tcp(source)
        connection.sendall(noise)
    elif where == "connection":
        connection = strangers.connect(source, noise).socket
    elif where == "frame":
        frame = RawClient.frame(choose.randrange(12), choose.randrange(256), choose.choice((0, 1, 2, 3)), noise)
        connection = strangers.connect(source, RawClient.headers(1), frame).socket
    else:
        message = b"\0" + len(noise).to_bytes(4, "big") + noise
        client = strangers.connect(source, RawClient.headers(1), RawClient.frame(RawClient.DATA, 1, 1, message))
        client.socket.settimeout(5)
        _, has_closed = client.receive_until(lambda frames: any(stream == 1 for _, stream, _ in frames))
        client.close()
        return f"{where}: " + ("closed" if has_closed else "answered")
    outcome = strangers.watch(connection, 3)
    connection.close()
    return f"{where}: {outcome}"


def half_open(strangers, source, choose):
    """half a TLS handshake, or half a preface"""
    hello = bytes.fromhex("16030100c8010000c40303") + choose.randbytes(32)  # the begin of a ClientHello
    connection = strangers.connect_tcp(source)
    connection.sendall(hello if strangers.options.certificate else RawClient.preface()[:10])
    outcome = strangers.watch(connection, HOLD_S)
    connection.close()
    return outcome


KINDS = (killed, crashed, slow_reader, idle, rapid_reset, giant_metadata, flood, garbage, half_open)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", help="whom to trust; without it no TLS is spoken")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", required=True, help="for what is made of the proto")
    parser.add_argument("--bitdial", required=True)
    parser.add_argument("--kinds", nargs="*", choices=[kind.__name__ for kind in KINDS], help="these alone")
    print(json.dumps(Strangers(parser.parse_args()).run()))


if __name__ == "__main__":
    main()
