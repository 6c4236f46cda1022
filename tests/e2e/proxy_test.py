#!/usr/bin/env python3
"""configs/haproxy.cfg in a real HAProxy in front of a real `bitdial serve`: gRPC through it as without it, and each limit
against a client that does not keep it, with another client beside it that must not notice. Run by ctest; skipped without
haproxy, openssl or the packages of requirements.txt.

Everything is on the loopback network. The ill-behaved client comes from 127.0.0.2, because some limits are per address.
"""
import grpc_python  # first: it may change the interpreter

import signal
import socket
import threading
import time
import unittest

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import proxied
import served
from proxied import grpc_message
from served import Server, wait_until

BITDIAL = served.bitdial_path()
NO_SERVICE = "/nobody/Here"

if tool := proxied.missing_tool():
    grpc_python.skip(f"the proxy needs {tool}")


def setUpModule():
    global FOLDER, pb, pb_grpc, BITS, SERVER
    FOLDER = served.temporary_folder()
    pb, pb_grpc = grpc_python.make_stubs(FOLDER.name)
    _, BITS = served.make_model(BITDIAL, FOLDER.name)
    proxied.make_certificate(FOLDER.name)
    SERVER = Server(BITDIAL, BITS)


def tearDownModule():
    code = SERVER.stop()
    FOLDER.cleanup()
    assert code == 0, (code, SERVER.log)


class Proxy(proxied.Proxy):
    def __init__(self, server_address, replace=()):
        super().__init__(FOLDER.name, server_address, replace)

    def stub(self):
        return pb_grpc.InferenceServiceStub(self.channel())


class RawClient(proxied.RawClient):
    def __init__(self, port):
        super().__init__(port, f"{FOLDER.name}/cert.pem")


class Stream:
    """A long answer that is read all the time: what happens beside it must not end it."""

    def __init__(self, stub):
        self.call = stub.Generate(long_request())
        self.num_messages = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.expect_alive()

    def _read(self):
        try:
            for _ in self.call:
                self.num_messages += 1
        except grpc.RpcError:
            pass  # its code is what counts

    def expect_alive(self):
        before = self.num_messages
        if not wait_until(lambda: self.num_messages > before or not self._reader.is_alive(), 60):
            raise AssertionError("a stream that should go on stands still")
        if not self._reader.is_alive():
            raise AssertionError(f"a stream that should go on ended with {self.call.code()}: {self.call.details()}")

    def end(self):
        self.expect_alive()
        self.call.cancel()
        self._reader.join(30)
        if self.call.code() != grpc.StatusCode.CANCELLED:
            raise AssertionError(f"a stream ended with {self.call.code()}: {self.call.details()}")


def request(text="the thing", **stopping):
    return pb.GenerateRequest(text=text, params=pb.RequestParams(
        sampling=pb.SamplingParams(temperature=0), stopping=pb.StoppingParams(**stopping)))


def long_request():
    return request(max_tokens=30000, ignore_eos=True)


def ids_of(messages):
    return [i for message in messages for i in message.delta.token_ids]


class ProxyTest(unittest.TestCase):
    def setUp(self):
        # What the test before cancelled may still be on its way out.
        self.assertTrue(wait_until(lambda: self.num_running() == 0))

    def start(self, replace=(), server=None):
        proxy = Proxy((server or SERVER).address, replace)
        self.addCleanup(proxy.stop)
        return proxy

    def raw(self, proxy):
        client = RawClient(proxy.port)
        self.addCleanup(client.close)
        return client

    def expect_served(self, stub):
        self.assertEqual(len(ids_of(stub.Generate(request(max_tokens=4, ignore_eos=True), timeout=60))), 4)

    def refused(self, code, word, call):
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.assertIn(word, caught.exception.details())

    def num_running(self):
        with grpc.insecure_channel(SERVER.address) as channel:
            return pb_grpc.InferenceServiceStub(channel).GetModel(pb.GetModelRequest()).num_running


class AsWithoutIt(ProxyTest):
    def test_calls_and_streams(self):
        proxy = self.start()
        stub = proxy.stub()
        with grpc.insecure_channel(SERVER.address) as channel:
            direct = pb_grpc.InferenceServiceStub(channel)
            tokenize = pb.TokenizeRequest(text="the thing")
            self.assertEqual(stub.Tokenize(tokenize), direct.Tokenize(tokenize))
            call = request(max_tokens=300, ignore_eos=True)
            expected = ids_of(direct.Generate(call))
            streams = [stub.Generate(call) for _ in range(20)]
            self.assertEqual([ids_of(stream) for stream in streams], [expected] * 20)
        health = health_pb2_grpc.HealthStub(proxy.channel()).Check(health_pb2.HealthCheckRequest())
        self.assertEqual(health.status, health_pb2.HealthCheckResponse.SERVING)
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, "text", lambda: list(stub.Generate(request(""))))

    def test_cancel_deadline_and_leaving_stop_the_computing(self):
        proxy = self.start()
        cancelled = proxy.stub().Generate(long_request())
        next(cancelled)
        self.assertEqual(self.num_running(), 1)
        cancelled.cancel()
        self.assertTrue(wait_until(lambda: self.num_running() == 0))
        self.refused(grpc.StatusCode.DEADLINE_EXCEEDED, "", lambda: list(proxy.stub().Generate(long_request(), timeout=0.5)))
        self.assertTrue(wait_until(lambda: self.num_running() == 0))
        channel = proxy.channel()
        next(pb_grpc.InferenceServiceStub(channel).Generate(long_request()))
        channel.close()
        self.assertTrue(wait_until(lambda: self.num_running() == 0))

    def test_message_over_the_servers_limit(self):
        stub = self.start().stub()
        beside = Stream(stub)
        self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max",
                     lambda: list(stub.Generate(request("x" * (5 << 20)))))
        beside.end()


class Encryption(ProxyTest):
    def test_only_http2_over_tls_to_a_known_name(self):
        proxy = self.start()
        self.assertEqual(self.raw(proxy).socket.selected_alpn_protocol(), "h2")
        plain = grpc.insecure_channel(f"127.0.0.1:{proxy.port}")
        self.addCleanup(plain.close)
        self.refused(grpc.StatusCode.UNAVAILABLE, "",
                     lambda: pb_grpc.InferenceServiceStub(plain).Tokenize(pb.TokenizeRequest(text="a"), timeout=30))
        stranger = pb_grpc.InferenceServiceStub(proxy.channel_that_trusts_others())
        self.refused(grpc.StatusCode.UNAVAILABLE, "", lambda: stranger.Tokenize(pb.TokenizeRequest(text="a"), timeout=30))
        self.expect_served(proxy.stub())


class Limits(ProxyTest):
    def test_metadata(self):
        proxy = self.start()
        stub = proxy.stub()
        same_connection, other_connection = Stream(stub), Stream(proxy.stub())
        tokenize = pb.TokenizeRequest(text="a")
        stub.Tokenize(tokenize, metadata=[("x", "y" * 7000)])
        self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "over 8192 bytes of metadata",
                     lambda: stub.Tokenize(tokenize, metadata=[("x", "y" * 9000)]))
        same_connection.end()
        for metadata in ([("x", "y" * 100000)], [(f"x{i}", "y") for i in range(200)]):
            self.refused(grpc.StatusCode.UNAVAILABLE, "", lambda: proxy.stub().Tokenize(tokenize, metadata=metadata))
        other_connection.end()

    def test_services_and_content(self):
        proxy = self.start()
        for path in ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "/grpc.health.v1.Health/Watch",
                     NO_SERVICE, "/"):
            self.refused(grpc.StatusCode.UNIMPLEMENTED, "no such service here",
                         lambda: proxy.channel().unary_unary(path)(b""))
        client = self.raw(proxy)
        client.send(client.preface(), client.headers(1, ends=True, content_type="text/html"))
        frames, _ = client.receive_until(lambda frames: any(stream == 1 for _, stream, _ in frames))
        self.assertTrue(any(b"415" in payload for kind, stream, payload in frames if stream == 1), frames)

    def test_streams_of_one_connection(self):
        proxy = self.start()
        beside = Stream(proxy.stub())
        client = self.raw(proxy)
        client.send(client.preface())
        frames, _ = client.receive_until(lambda frames: any(kind == client.SETTINGS for kind, _, _ in frames))
        settings = next(payload for kind, _, payload in frames if kind == client.SETTINGS)
        values = {int.from_bytes(settings[i:i + 2], "big"): int.from_bytes(settings[i + 2:i + 6], "big")
                  for i in range(0, len(settings), 6)}
        self.assertEqual(values[3], 100)  # SETTINGS_MAX_CONCURRENT_STREAMS
        # Requests whose bodies never come: the server hears of none of them.
        client.send(*(client.headers(1 + 2 * i) for i in range(300)))
        beside.expect_alive()
        self.assertEqual(self.num_running(), 1)
        self.expect_served(proxy.stub())
        beside.end()

    def test_streams_opened_and_reset(self):
        proxy = self.start()
        beside = Stream(proxy.stub())
        client = self.raw(proxy)
        client.send(client.preface())
        cancel = (8).to_bytes(4, "big")
        for first in range(1, 40000, 400):
            if not client.send(*(client.headers(i, ends=True) + client.frame(client.RST_STREAM, 0, i, cancel)
                                 for i in range(first, first + 400, 2))):
                break
        self.expect_served(proxy.stub())
        beside.end()
        self.assertTrue(wait_until(lambda: self.num_running() == 0))

    def test_frames_without_an_end(self):
        proxy = self.start()
        beside = Stream(proxy.stub())
        client = self.raw(proxy)
        unfinished = bytearray(client.headers(1))
        unfinished[4] = 0  # no END_HEADERS: CONTINUATION frames follow, without an end
        client.send(client.preface(), bytes(unfinished))
        client.send(*(client.frame(client.CONTINUATION, 0, 1, b"\0\1x\1y" * 2000) for _ in range(200)))
        _, has_closed = client.receive_until(lambda frames: False)
        self.assertTrue(has_closed)
        others = self.raw(proxy)
        others.send(others.preface())
        others.socket.settimeout(1)  # its answers are not read
        others.send(*(others.frame(others.PING, 0, 0, bytes(8)) for _ in range(10000)))
        others.send(*(others.frame(others.SETTINGS, 0, 0) for _ in range(10000)))
        self.expect_served(proxy.stub())
        beside.end()

    def test_requests_of_one_address(self):
        proxy = self.start()
        client = self.raw(proxy)
        client.send(client.preface())
        stream = -1
        for _ in range(100):  # batches of 50
            last = stream + 100
            client.send(*(client.headers(i, NO_SERVICE, ends=True) for i in range(stream + 2, last + 1, 2)))
            stream = last
            client.receive_until(lambda frames: any(s == last for _, s, _ in frames))
            if b"over 1000 requests" in client.received:
                break
        self.assertIn(b"over 1000 requests", client.received)
        self.assertIn(b"application/grpc", client.received)  # grpc-go wants it, whatever the status
        self.assertGreater(stream, 2000)
        self.expect_served(proxy.stub())  # from another address

    def test_connections_of_one_address(self):
        proxy = self.start()
        clients, refused = [], False
        for _ in range(80):
            try:
                clients.append(self.raw(proxy))
            except OSError:
                refused = True
                break
        self.assertTrue(refused)
        self.assertEqual(len(clients), 64)
        self.expect_served(proxy.stub())

    def test_calls_of_one_address(self):
        proxy = self.start()
        beside = Stream(proxy.stub())
        # Messages of 1 MB whose first 20 kB come, more than the proxy's buffer: the server has them all, without an end.
        message = b"\0" + (1 << 20).to_bytes(4, "big") + bytes(20000)
        clients = [self.raw(proxy) for _ in range(6)]
        for client in clients:
            client.send(client.preface())
            for stream in range(1, 190, 2):
                client.send(client.headers(stream), client.frame(client.DATA, 0, stream, message[:10000]),
                            client.frame(client.DATA, 0, stream, message[10000:]))
        for client in clients[1:]:
            client.receive_until(lambda frames: any(b"over 64 calls" in payload for _, _, payload in frames))
        self.expect_served(proxy.stub())
        self.assertTrue(wait_until(lambda: 32 < proxy.num_calls() <= 65), proxy.num_calls())  # and the one beside
        beside.end()
        for client in clients:
            client.close()
        self.assertTrue(wait_until(lambda: proxy.num_calls() == 0, 60))

    def test_silent_calls_of_a_client_that_left(self):
        proxy = self.start()
        client = self.raw(proxy)
        message = grpc_message(long_request())
        streams = {1, 3, 5, 7}
        client.send(client.preface(), *(client.headers(stream) + client.frame(client.DATA, 1, stream, message)  # END_STREAM
                                        for stream in streams))
        client.receive_until(lambda frames: streams <= {stream for kind, stream, _ in frames if kind == client.DATA})
        SERVER.signal(signal.SIGSTOP)
        try:
            self.assertEqual(proxy.num_calls(), 4)
            client.socket.shutdown(socket.SHUT_WR)  # a FIN; close() may send a reset, which is noticed anyway
            self.assertTrue(wait_until(lambda: proxy.num_calls() == 0, 60))
        finally:
            SERVER.signal(signal.SIGCONT)

    def test_idle_and_slow_connections(self):
        proxy = self.start([("timeout http-keep-alive 2m", "timeout http-keep-alive 1s"),
                            ("timeout http-request 10s", "timeout http-request 1s"),
                            ("timeout client 30s", "timeout client 1s"), ("wait-for-body time 10s", "wait-for-body time 1s")])
        beside = Stream(proxy.stub())
        silent, idle, dripping, bodiless = (self.raw(proxy) for _ in range(4))
        idle.send(idle.preface(), idle.headers(1, NO_SERVICE, ends=True))
        whole = dripping.headers(1)
        dripping.send(dripping.preface(), whole[:len(whole) // 2])
        bodiless.send(bodiless.preface(), bodiless.headers(1))
        for client in (silent, idle, dripping):
            _, has_closed = client.receive_until(lambda frames: False)
            self.assertTrue(has_closed)
        frames, _ = bodiless.receive_until(lambda frames: any(stream == 1 for _, stream, _ in frames))
        self.assertTrue(any(b"408" in payload for kind, stream, payload in frames if stream == 1), frames)
        # A silent server is another matter: its client waits longer than any of these times.
        SERVER.signal(signal.SIGSTOP)
        time.sleep(2.5)
        SERVER.signal(signal.SIGCONT)
        beside.end()
        self.assertTrue(wait_until(lambda: proxy.num_calls() == 0))
        unread = self.raw(proxy)
        no_window = (4).to_bytes(2, "big") + (0).to_bytes(4, "big")  # SETTINGS_INITIAL_WINDOW_SIZE
        unread.send(unread.preface(), unread.frame(unread.SETTINGS, 0, 0, no_window), unread.headers(1),
                    unread.frame(unread.DATA, 1, 1, grpc_message(long_request())))  # END_STREAM
        self.assertTrue(wait_until(lambda: proxy.num_calls() == 1))
        self.assertTrue(wait_until(lambda: proxy.num_calls() == 0, 60))
        self.expect_served(proxy.stub())


class Names:
    """A DNS server that knows one address, or no name at all."""

    def __init__(self):
        self.address = None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def _answer(self):
        while True:
            asked, client = self._socket.recvfrom(4096)
            if not asked:
                return
            end = asked.index(b"\0", 12) + 5  # of the question: name, type, class
            answer = b""
            if self.address and asked[end - 4:end - 2] == b"\0\1":  # A
                answer = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(self.address)
            flags = b"\x81\x80" if self.address else b"\x81\x83"  # no error, or no such name
            counts = b"\0\1" + (b"\0\1" if answer else b"\0\0") + bytes(4)
            self._socket.sendto(asked[:2] + flags + counts + asked[12:end] + answer, client)

    def stop(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(30)
        self._socket.close()


class ServerBehind(ProxyTest):
    def test_a_name_that_comes_late_and_moves(self):
        names = Names()
        self.addCleanup(names.stop)
        server = Server(BITDIAL, BITS)
        self.addCleanup(lambda: server.stop())
        port = server.address.rsplit(":", 1)[1]
        # libc would ask the network's own DNS.
        proxy = Proxy(f"bitdial.invalid:{port}", [("parse-resolv-conf", f"nameserver test 127.0.0.1:{names.port}"),
                                                  ("init-addr libc,none", "init-addr none"),
                                                  ("inter 2s fall 2", "inter 100 fall 1")])
        self.addCleanup(proxy.stop)
        stub = proxy.stub()
        tokenize = pb.TokenizeRequest(text="a")

        def is_served():
            try:
                return stub.Tokenize(tokenize, timeout=30).token_ids is not None
            except grpc.RpcError:
                return False

        self.refused(grpc.StatusCode.UNAVAILABLE, "bitdial does not answer", lambda: stub.Tokenize(tokenize, timeout=60))
        names.address = "127.0.0.1"
        self.assertTrue(wait_until(is_served, 90), proxy.log)
        self.assertEqual(server.stop(), 0)
        self.assertFalse(is_served())
        server = Server(BITDIAL, BITS, listen=f"127.0.0.3:{port}")
        names.address = "127.0.0.3"
        self.assertTrue(wait_until(is_served, 90), proxy.log)

    def test_killed(self):
        server = Server(BITDIAL, BITS)
        stub = self.start(server=server).stub()
        running = stub.Generate(long_request())
        next(running)
        server.signal(signal.SIGKILL)
        server.wait()
        with self.assertRaises(grpc.RpcError) as caught:
            list(running)
        # HAProxy ends the stream without a status, and what that is called is up to the client's library.
        self.assertIn(caught.exception.code(), (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE))
        self.refused(grpc.StatusCode.UNAVAILABLE, "bitdial does not answer",
                     lambda: stub.Tokenize(pb.TokenizeRequest(text="a"), timeout=60))

    def test_draining_and_gone_and_back(self):
        server = Server(BITDIAL, BITS)
        proxy = self.start([("inter 2s fall 2", "inter 100 fall 1")], server)
        stub = proxy.stub()
        running = stub.Generate(request(max_tokens=3000, ignore_eos=True))
        first = next(running)
        server.signal(signal.SIGTERM)
        self.assertEqual(len(ids_of([first, *running])), 3000)  # what runs goes on
        self.assertEqual(server.wait(), 0)
        self.refused(grpc.StatusCode.UNAVAILABLE, "bitdial does not answer",
                     lambda: stub.Tokenize(pb.TokenizeRequest(text="a"), timeout=60))
        self.assertTrue(wait_until(lambda: any("Server bitdial/bitdial is DOWN" in line for line in proxy.log)))
        client = self.raw(proxy)
        client.send(client.preface(), client.headers(1, ends=True))
        frames, _ = client.receive_until(lambda frames: any(stream == 1 for _, stream, _ in frames))
        headers = next(payload for kind, stream, payload in frames if (kind, stream) == (client.HEADERS, 1))
        self.assertEqual(headers[0], 0x88)  # HPACK's index of ":status: 200": else some clients do not look at grpc-status
        again = Server(BITDIAL, BITS, listen=server.address)
        self.addCleanup(again.stop)
        self.assertTrue(wait_until(lambda: any("Server bitdial/bitdial is UP" in line for line in proxy.log)), proxy.log)
        self.expect_served(stub)

    def test_soft_stop(self):
        proxy = self.start()
        running = proxy.stub().Generate(request(max_tokens=3000, ignore_eos=True))
        first = next(running)
        proxy.process.send_signal(signal.SIGUSR1)
        self.assertEqual(len(ids_of([first, *running])), 3000)
        self.assertEqual(proxy.process.wait(60), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
