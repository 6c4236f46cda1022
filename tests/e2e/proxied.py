"""configs/haproxy.cfg in a real HAProxy, and a client that speaks HTTP/2 in frames. Everything is on the loopback network."""
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import threading

import grpc

import served
from served import run

CONFIG = served.SOURCE / "configs/haproxy.cfg"
# Some limits are per address: ill-behaved clients come from here, the others from 127.0.0.1.
OTHER_ADDRESS = "127.0.0.2"
GENERATE = "/bitdial.v1.InferenceService/Generate"

os.environ["PATH"] += ":/usr/sbin"  # where Debian has haproxy, and users do not look


def missing_tool():
    """The first that is not here; None: all are."""
    return next((tool for tool in ("haproxy", "openssl") if shutil.which(tool) is None), None)


def make_certificate(folder):
    """For localhost, signed by itself: cert.pem, key.pem, and both in bitdial.pem."""
    folder = pathlib.Path(folder)
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
        "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem", check=True)
    (folder / "bitdial.pem").write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())


class Proxy:
    """haproxy with the shipped configuration, or with pieces of its text replaced."""

    def __init__(self, folder, server_address, replace=()):
        """folder: of make_certificate."""
        self.folder = pathlib.Path(folder)
        text = CONFIG.read_text()
        for old, new in replace:
            if text.count(old) != 1:
                raise RuntimeError(f"{CONFIG} has {old!r} {text.count(old)} times, expected once")
            text = text.replace(old, new)
        self._stats = f"{folder}/stats"
        text = text.replace("global\n", f"global\n    stats socket {self._stats}\n", 1)
        path = self.folder / "haproxy.cfg"
        path.write_text(text)
        # It takes over a socket that listens already: no port is lost between choosing it and using it.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            environment = {"PROXY_LISTEN": f"fd@{listener.fileno()}", "PROXY_SERVER": server_address,
                           "PROXY_CERTIFICATE": f"{folder}/bitdial.pem", "PATH": os.environ["PATH"]}
            self.process = subprocess.Popen(["haproxy", "-db", "-f", path], stdout=subprocess.PIPE, env=environment,
                                            stderr=subprocess.STDOUT, text=True, pass_fds=[listener.fileno()])
        self.log = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self._channels = []

    def _read_log(self):
        for line in self.process.stdout:
            self.log.append(line.rstrip("\n"))

    def num_calls(self):
        """What holds a place in the server."""
        with socket.socket(socket.AF_UNIX) as stats:
            stats.connect(self._stats)
            stats.sendall(b"show stat bitdial 4 -1\n")
            names, values = stats.makefile().read().split("\n")[:2]
        return int(dict(zip(names.split(","), values.split(",")))["scur"])

    def channel(self):
        """A connection of its own."""
        return self._open(grpc.ssl_channel_credentials((self.folder / "cert.pem").read_bytes()))

    def channel_that_trusts_others(self):
        return self._open(grpc.ssl_channel_credentials())

    def _open(self, credentials):
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "localhost")]
        self._channels.append(grpc.secure_channel(f"127.0.0.1:{self.port}", credentials, options))
        return self._channels[-1]

    def stop(self):
        for channel in self._channels:
            channel.close()
        code = self.process.poll()
        self.process.terminate()
        self.process.wait(30)
        self._reader.join(5)
        self.process.stdout.close()
        if code not in (None, 0):
            raise AssertionError(f"haproxy had ended with {code}:\n" + "\n".join(self.log))


class RawClient:
    """HTTP/2 in frames, for what no gRPC library would send."""
    DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9

    def __init__(self, port, certificate=None, source=OTHER_ADDRESS):
        """certificate: whom to trust; None: no TLS."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
        if certificate is not None:
            context = ssl.create_default_context(cafile=certificate)
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.received = b""

    @staticmethod
    def frame(kind, flags, stream, payload=b""):
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    @classmethod
    def preface(cls):
        return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + cls.frame(cls.SETTINGS, 0, 0)

    @classmethod
    def headers(cls, stream, path=GENERATE, ends=False, content_type="application/grpc"):
        def field(name, value):
            return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()

        fields = {":method": "POST", ":scheme": "https", ":path": path, ":authority": "localhost",
                  "content-type": content_type, "te": "trailers"}
        block = b"".join(field(name, value) for name, value in fields.items())
        return cls.frame(cls.HEADERS, 4 | ends, stream, block)  # END_HEADERS, END_STREAM

    def send(self, *frames):
        """False when the proxy has closed, or takes nothing more because its answers are not read."""
        try:
            self.socket.sendall(b"".join(frames))
            return True
        except OSError:
            return False

    def receive_until(self, is_enough):
        """Reads until is_enough(frames) or the end; returns the frames and whether the proxy has closed."""
        while not is_enough(self.frames()):
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                return self.frames(), True
            self.received += data
        return self.frames(), False

    def frames(self):
        """(kind, stream, payload) of what has come whole."""
        found, rest = [], self.received
        while len(rest) >= 9 and len(rest) >= 9 + int.from_bytes(rest[:3], "big"):
            size = int.from_bytes(rest[:3], "big")
            found.append((rest[3], int.from_bytes(rest[5:9], "big"), rest[9:9 + size]))
            rest = rest[9 + size:]
        return found

    def close(self):
        self.socket.close()


def grpc_message(message):
    """As gRPC frames it."""
    data = message.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data
