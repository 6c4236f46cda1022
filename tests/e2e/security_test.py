#!/usr/bin/env python3
"""TLS, client certificates, API keys and the admin service of a real `bitdial serve`, met by a client made from the published
proto and by `bitdial client` and `bitdial admin`. Run by ctest; skipped without openssl or the packages of requirements.txt.

Names of vulnerabilities say which class of failure of other servers a test keeps out.
"""
import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the client's complaints about handshakes that are meant to fail

import grpc_python  # before the others: it may change the interpreter

import json
import pathlib
import shutil
import socket
import ssl
import unittest
import warnings

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

import served
from served import Server, run, wait_until

BITDIAL = served.bitdial_path()
EXIT_USAGE, EXIT_BAD_FILE, EXIT_BAD_CONFIG = 2, 3, 9

if shutil.which("openssl") is None:
    grpc_python.skip("certificates need openssl")


def openssl(*arguments):
    run("openssl", *arguments, check=True)


def make_authority(name):
    """A certificate authority: NAME.key and NAME.pem."""
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout",
            FILES / f"{name}.key", "-out", FILES / f"{name}.pem")


def make_certificate(name, authority, days=2, bits=2048):
    """NAME.key and NAME.pem for localhost, signed by the authority. Negative days: it has expired."""
    openssl("req", "-newkey", f"rsa:{bits}", "-nodes", "-subj", f"/CN={name}", "-keyout", FILES / f"{name}.key", "-out",
            FILES / f"{name}.csr")
    (FILES / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    openssl("x509", "-req", "-in", FILES / f"{name}.csr", "-CA", FILES / f"{authority}.pem", "-CAkey",
            FILES / f"{authority}.key", "-CAcreateserial", "-days", str(days), "-extfile", FILES / "names", "-out",
            FILES / f"{name}.pem")


def copy(source, target):
    """As a careful operator does it: the new file comes in whole."""
    shutil.copy(FILES / source, FILES / "new")
    os.replace(FILES / "new", FILES / target)


def make_key(name, *flags):
    """The key; its line goes into keys.jsonl."""
    made = json.loads(run(BITDIAL, "keys", "new", name, "--json", *flags, check=True).stdout)
    with open(FILES / "keys.jsonl", "a") as file:
        file.write(made["line"] + "\n")
    return made["key"]


def setUpModule():
    global FOLDER, FILES, pb, pb_grpc, BITS
    FOLDER = served.temporary_folder()
    FILES = pathlib.Path(FOLDER.name)
    pb, pb_grpc = grpc_python.make_stubs(FOLDER.name)
    _, BITS = served.make_model(BITDIAL, FOLDER.name)
    make_authority("ca")
    make_authority("other-ca")
    make_certificate("server", "ca")
    make_certificate("server2", "other-ca")
    make_certificate("client", "ca")
    make_certificate("stranger", "other-ca")


def tearDownModule():
    FOLDER.cleanup()


def read(name):
    return (FILES / name).read_bytes()


def channel(server, ca="ca.pem", client=None):
    """Over TLS, as a client that trusts `ca` and shows the certificate of `client`."""
    pair = (read(f"{client}.key"), read(f"{client}.pem")) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(read(ca), *pair)
    # A pool of its own: channels to one address share a connection otherwise, and with it its certificate.
    return grpc.secure_channel(server.address, credentials, options=[("grpc.use_local_subchannel_pool", 1)])


def answers(a_channel, **keywords):
    """Does a call over this channel come back? Closes it."""
    with a_channel:
        try:
            pb_grpc.InferenceServiceStub(a_channel).ListModels(pb.ListModelsRequest(), timeout=5, **keywords)
            return True
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED), error
            return False


def bearer(key):
    return (("authorization", f"Bearer {key}"),)


def generate(max_tokens=30000, **params):
    return pb.GenerateRequest(text="the thing", params=pb.RequestParams(
        stopping=pb.StoppingParams(max_tokens=max_tokens, ignore_eos=True), **params))


def reason(error):
    details = {any.TypeName(): any.value for any in rpc_status.from_call(error).details}
    return error_details_pb2.ErrorInfo.FromString(details["google.rpc.ErrorInfo"]).reason


class WithServer(unittest.TestCase):
    def serve(self, *flags, **keywords):
        server = Server(BITDIAL, BITS, *[str(flag) for flag in flags], **keywords)

        def stop():
            self.assertEqual(server.stop(), 0, server.log)

        self.addCleanup(stop)
        return server

    def tls(self, *flags, name="server"):
        return self.serve("--tls-cert", FILES / f"{name}.pem", "--tls-key", FILES / f"{name}.key", *flags)


class Tls(WithServer):
    def test_encrypts_and_proves_who_it_is(self):
        server = self.tls()
        self.assertTrue(answers(channel(server)))
        self.assertFalse(answers(channel(server, ca="other-ca.pem")))
        self.assertFalse(answers(grpc.insecure_channel(server.address)))
        with channel(server) as secure:
            status = health_pb2_grpc.HealthStub(secure).Check(health_pb2.HealthCheckRequest()).status
        self.assertEqual(status, health_pb2.HealthCheckResponse.SERVING)

    def test_versions_below_1_2_are_refused(self):
        server = self.tls()
        host, port = server.address.rsplit(":", 1)

        def version(maximum):
            context = ssl.create_default_context(cafile=FILES / "ca.pem")
            context.set_alpn_protocols(["h2"])
            context.set_ciphers("ALL:@SECLEVEL=0")  # so that it is the server who refuses
            with warnings.catch_warnings():  # old versions are what this is about
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, maximum
            with socket.create_connection((host, int(port)), timeout=20) as raw:
                with context.wrap_socket(raw, server_hostname="localhost") as secure:
                    return secure.version()

        self.assertEqual(version(ssl.TLSVersion.TLSv1_3), "TLSv1.3")
        self.assertEqual(version(ssl.TLSVersion.TLSv1_2), "TLSv1.2")
        refused_by_the_server = "(?i)alert.protocol.version|eof occurred"
        with warnings.catch_warnings(), self.assertRaisesRegex(ssl.SSLError, refused_by_the_server):
            warnings.simplefilter("ignore", DeprecationWarning)
            version(ssl.TLSVersion.TLSv1_1)

    def test_client_certificates(self):
        server = self.tls("--tls-client-ca", FILES / "ca.pem")
        self.assertTrue(answers(channel(server, client="client")))
        self.assertFalse(answers(channel(server)))
        self.assertFalse(answers(channel(server, client="stranger")))

    def test_a_new_certificate_is_taken_and_a_bad_one_is_not(self):
        for end in ("pem", "key"):
            copy(f"server.{end}", f"live.{end}")
        server = self.tls(name="live")
        held = channel(server)  # open before the change
        self.addCleanup(held.close)
        stub = pb_grpc.InferenceServiceStub(held)
        stub.ListModels(pb.ListModelsRequest())
        (FILES / "live.pem").write_text("no certificate")
        self.assertTrue(wait_until(lambda: any("stays as it was" in line for line in server.log)), server.log)
        self.assertTrue(answers(channel(server)))
        copy("server2.pem", "live.pem")  # not yet its key
        self.assertTrue(wait_until(lambda: any("is not the key" in line for line in server.log)), server.log)
        self.assertTrue(answers(channel(server)))
        copy("server2.key", "live.key")
        self.assertTrue(wait_until(lambda: answers(channel(server, ca="other-ca.pem"))), server.log)
        self.assertTrue(wait_until(lambda: not answers(channel(server))))
        stub.ListModels(pb.ListModelsRequest())  # the old connection goes on

    def test_authorities_of_clients_change_too(self):
        copy("ca.pem", "clients.pem")
        server = self.tls("--tls-client-ca", FILES / "clients.pem")
        self.assertFalse(answers(channel(server, client="stranger")))
        copy("other-ca.pem", "clients.pem")
        self.assertTrue(wait_until(lambda: answers(channel(server, client="stranger"))), server.log)
        self.assertFalse(answers(channel(server, client="client")))


class BadStarts(unittest.TestCase):
    """What stops the start, before a model is loaded: there is none at this path."""

    def refused(self, *flags, words=(), code=EXIT_USAGE):
        for check in ([], ["--check-config"]):
            made = run(BITDIAL, "serve", FILES / "no-model", "--listen", "127.0.0.1:0", *check, *flags)
            self.assertEqual(made.returncode, code, made.stderr)
            for word in words:
                self.assertIn(word, made.stderr)

    def tls(self, certificate, key, *words):
        self.refused("--tls-cert", FILES / certificate, "--tls-key", FILES / key, words=words)

    def test_certificates_and_keys(self):
        make_certificate("expired", "ca", days=-1)
        make_certificate("weak", "ca", bits=512)
        openssl("rsa", "-in", FILES / "server.key", "-aes128", "-passout", "pass:x", "-out", FILES / "locked.key")
        damaged = read("server.pem").decode().splitlines()
        damaged[5] = "?" * 64
        (FILES / "damaged.pem").write_text("\n".join(damaged))
        (FILES / "empty").write_text("")
        self.tls("nowhere.pem", "server.key", "tls_cert", "nowhere.pem")
        self.tls("server.pem", "nowhere.key", "tls_key", "nowhere.key")
        self.tls("empty", "server.key", "tls_cert", "no certificate in PEM")
        self.tls("server.key", "server.key", "tls_cert", "no certificate in PEM")
        self.tls("damaged.pem", "server.key", "tls_cert", "damaged")
        self.tls("server.pem", "server.pem", "tls_key", "no private key in PEM")
        self.tls("server.pem", "client.key", "tls_key", "is not the key of the first certificate")
        self.tls("server.pem", "locked.key", "tls_key", "passphrase")
        self.tls("expired.pem", "expired.key", "tls_cert", "expired on")
        self.tls("weak.pem", "weak.key", "tls_cert", "TLS does not take")
        self.tls(".", "server.key", "tls_cert", "regular file")
        self.refused("--tls-cert", FILES / "server.pem", "--tls-key", FILES / "server.key", "--tls-client-ca",
                     FILES / "empty", words=("tls_client_ca", "no certificate in PEM"))
        config = FILES / "tls.json"
        config.write_text(json.dumps({"tls_cert": str(FILES / "empty"), "tls_key": str(FILES / "server.key")}))
        self.refused("--config", config, words=("tls.json: tls_cert",), code=EXIT_BAD_CONFIG)

    def test_flags_without_effect(self):
        server = ("--tls-cert", FILES / "server.pem")
        self.refused(*server, words=("tls_cert", "needs its key"))
        self.refused("--tls-key", FILES / "server.key", words=("tls_key", "no effect without tls_cert"))
        self.refused("--tls-client-ca", FILES / "ca.pem", words=("tls_client_ca", "no effect"))
        self.refused("--max-connection-age-grace-s", "9", words=("max_connection_age_grace_s", "no effect"))

    def test_contradictory_limits(self):
        self.refused("--max-active-requests", "100", words=("max_active_requests 100", "320"))

    def test_key_files(self):
        (FILES / "bad.jsonl").write_text("{}\n")
        self.refused("--keys-file", FILES / "nowhere.jsonl", words=("keys_file", "nowhere.jsonl"))
        self.refused("--keys-file", FILES / "bad.jsonl", words=("keys_file", "line 1", "name"))
        (FILES / "bad.jsonl").write_text("")
        self.refused("--keys-file", FILES / "bad.jsonl", words=("holds no key",))

    def test_cve_2025_30202_nothing_listens_beyond_this_machine_unasked(self):
        if not (FILES / "keys.jsonl").exists():
            make_key("remote")
        remote = ("--listen", "0.0.0.0:0")
        tls = ("--tls-cert", FILES / "server.pem", "--tls-key", FILES / "server.key")
        keys = ("--keys-file", FILES / "keys.jsonl")
        for flags, words in (((), ("tls_cert, tls_key and keys_file",)),
                             (keys, ("API keys and all traffic can be read",)),
                             (tls, ("anybody who reaches the port", "keys_file or tls_client_ca"))):
            made = run(BITDIAL, "serve", FILES / "no-model", "--check-config", *remote, *flags)
            self.assertEqual(made.returncode, EXIT_USAGE, made.stderr)
            for word in ("--allow-insecure-remote", *words):
                self.assertIn(word, made.stderr)
            made = run(BITDIAL, "serve", "--check-config", *remote, *flags, "--allow-insecure-remote")
            self.assertEqual(made.returncode, 0, made.stderr)
        for flags in ((*tls, *keys), (*tls, "--tls-client-ca", FILES / "ca.pem")):
            made = run(BITDIAL, "serve", "--check-config", *remote, *flags)
            self.assertEqual(made.returncode, 0, made.stderr)

    def test_a_file_in_the_place_of_the_admin_socket_stays(self):
        path = FILES / "not-a-socket"
        path.write_text("mine")
        made = run(BITDIAL, "serve", FILES / "no-model", "--listen", "127.0.0.1:0", "--admin-listen", f"unix:{path}")
        self.assertNotEqual(made.returncode, 0)
        self.assertIn("no socket", made.stderr)
        self.assertEqual(path.read_text(), "mine")

    def test_admin_addresses(self):
        for address, words in (("0.0.0.0:0", ("admin_listen", "--allow-insecure-remote")), ("unix:here", ("absolute",)),
                               ("unix:", ("absolute",)), ("unix:/" + "x" * 200, ("at most 107",)),
                               ("nowhere", ("ADDR:PORT",))):
            self.refused("--admin-listen", address, words=("admin_listen", *words))


class Keys(WithServer):
    def setUp(self):
        (FILES / "keys.jsonl").unlink(missing_ok=True)
        self.alice, self.bob = make_key("alice"), make_key("bob")
        self.root = make_key("root", "--scopes", "admin")
        self.reader = make_key("reader", "--scopes", "models")
        self.server = self.serve("--keys-file", FILES / "keys.jsonl", "--admin-listen", f"unix:{FILES}/admin.sock")
        self.channel = grpc.insecure_channel(self.server.address)
        self.addCleanup(self.channel.close)
        self.stub = pb_grpc.InferenceServiceStub(self.channel)

    def code(self, key, request=None, method="ListModels"):
        call = getattr(self.stub, method)
        metadata = bearer(key) if key else ()
        try:
            answer = call(request or pb.ListModelsRequest(), metadata=metadata, timeout=20)
            if hasattr(answer, "__iter__"):
                list(answer)
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()

    def admin(self, *words, key=None):
        environment = dict(os.environ, BITDIAL_API_KEY=key or self.root)
        return run(BITDIAL, "admin", "--server", f"unix:{FILES}/admin.sock", *words, env=environment)

    def test_keys_and_scopes(self):
        self.assertEqual(self.code(None), grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual(self.code("bd_0123456789abcdef_" + "A" * 43), grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual(self.code(self.alice), grpc.StatusCode.OK)
        self.assertEqual(self.code(self.root), grpc.StatusCode.PERMISSION_DENIED)
        self.assertEqual(self.code(self.reader, generate(1), "Generate"), grpc.StatusCode.PERMISSION_DENIED)
        self.assertEqual(self.code(self.alice, generate(1), "Generate"), grpc.StatusCode.OK)
        self.assertTrue(wait_until(lambda: any('ended: status=OK key="alice"' in line for line in self.server.log)))
        for key in (self.alice, self.bob, self.root, self.reader):
            self.assertFalse(any(key in line or key[20:] in line for line in self.server.log))

    def test_reflection_is_off_and_health_is_open(self):
        status = health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest()).status
        self.assertEqual(status, health_pb2.HealthCheckResponse.SERVING)
        with self.assertRaises(grpc.RpcError) as caught:
            ProtoReflectionDescriptorDatabase(self.channel).get_services()
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_a_new_file_acts_without_a_restart(self):
        running = self.stub.Generate(generate(), metadata=bearer(self.bob))
        next(running)
        old = read("keys.jsonl")
        carol = make_key("carol")
        self.assertTrue(wait_until(lambda: self.code(carol) == grpc.StatusCode.OK))
        (FILES / "keys.jsonl").write_text("not a line\n")
        self.assertTrue(wait_until(lambda: any("keys stay as they were" in line for line in self.server.log)))
        self.assertEqual(self.code(carol), grpc.StatusCode.OK)
        (FILES / "keys.jsonl").write_bytes(b"".join(line for line in old.splitlines(True) if b'"bob"' not in line))
        self.assertTrue(wait_until(lambda: self.code(self.bob) == grpc.StatusCode.UNAUTHENTICATED))
        self.assertEqual(self.code(self.alice), grpc.StatusCode.OK)
        next(running)  # what runs goes on
        running.cancel()

    def test_cve_2026_105755_ids_of_callers_are_labels(self):
        mine = self.stub.Generate(generate(request_id="job"), metadata=bearer(self.alice))
        theirs = self.stub.Generate(generate(request_id="job"), metadata=bearer(self.bob))
        next(mine), next(theirs)
        with self.assertRaises(grpc.RpcError) as caught:
            list(self.stub.Generate(generate(request_id="job"), metadata=bearer(self.alice)))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.ALREADY_EXISTS)
        self.assertEqual(reason(caught.exception), "DUPLICATE_REQUEST_ID")
        theirs_id = dict(theirs.initial_metadata())["bitdial-request-id"]
        cancel = lambda name, key: self.stub.Cancel(pb.CancelRequest(request_id=name), metadata=bearer(key)).num_cancelled
        self.assertEqual(cancel(theirs_id, self.alice), 0)
        self.assertEqual(cancel("job", self.alice), 1)
        with self.assertRaises(grpc.RpcError) as caught:
            list(mine)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.CANCELLED)
        self.assertEqual(reason(caught.exception), "CANCEL_CALLED")
        next(theirs)
        self.assertEqual(cancel("job", self.bob), 1)

    def test_admin(self):
        call = self.stub.Generate(generate(request_id="long"), metadata=bearer(self.alice))
        next(call)
        status = json.loads(run(BITDIAL, "admin", "status", "--server", f"unix:{FILES}/admin.sock",
                                env=dict(os.environ, BITDIAL_API_KEY=self.root)).stdout)  # flags may stand behind too
        self.assertEqual((status["state"], status["model"]), ("SERVER_STATE_SERVING", "tiny-bits"))
        self.assertEqual([(r["client_request_id"], r["key"]) for r in status["active"]], [("long", "alice")])
        self.assertNotIn("the thing", json.dumps(status))
        self.assertEqual(json.loads(self.admin("cancel", "long").stdout)["num_cancelled"], 1)
        with self.assertRaises(grpc.RpcError):
            list(call)
        self.assertEqual(json.loads(self.admin("log-level", "debug").stdout)["previous_level"], "info")
        for key in (self.alice, "x"):
            refused = self.admin("drain", key=key)
            self.assertEqual(refused.returncode, EXIT_USAGE, refused.stderr)
        self.assertEqual(self.admin("drain").returncode, 0)
        self.assertEqual(self.server.process.wait(30), 0)

    def test_the_client_shows_its_key(self):
        ask = lambda *flags, **variables: run(BITDIAL, "client", "--server", self.server.address, "--model-info", *flags,
                                              env=dict(os.environ, **variables))
        self.assertEqual(ask().returncode, EXIT_USAGE)
        self.assertEqual(ask(BITDIAL_API_KEY=self.alice).returncode, 0)
        (FILES / "alice.txt").write_text(self.alice + "\n")
        self.assertEqual(ask("--api-key-file", FILES / "alice.txt").returncode, 0)
        self.assertEqual(ask("--api-key-file", FILES / "none.txt").returncode, EXIT_BAD_FILE)


class Queued(WithServer):
    """Cancel reaches a request that waits: its id came before its first token."""

    def test_cancel(self):
        server = self.serve("--max-running-requests", "1", "--admin-listen", "127.0.0.1:0")
        with grpc.insecure_channel(server.address) as a_channel:
            stub = pb_grpc.InferenceServiceStub(a_channel)
            running = stub.Generate(generate())
            next(running)
            waiting = stub.Generate(generate(request_id="waits"))
            request_id = dict(waiting.initial_metadata())["bitdial-request-id"]
            self.assertTrue(wait_until(lambda: stub.GetModel(pb.GetModelRequest()).num_queued == 1))
            self.assertEqual(stub.Cancel(pb.CancelRequest(request_id=request_id)).num_cancelled, 1)
            with self.assertRaises(grpc.RpcError) as caught:
                list(waiting)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.CANCELLED)
            self.assertTrue(wait_until(lambda: stub.GetModel(pb.GetModelRequest()).num_queued == 0))
            next(running)  # the other is not touched
            running.cancel()
        self.assertTrue(any("admin service on 127.0.0.1:" in line for line in server.log))


class Limits(WithServer):
    def test_of_keys(self):
        (FILES / "keys.jsonl").unlink(missing_ok=True)
        alice = make_key("alice", "--max-concurrent-requests", 1)
        bob = make_key("bob", "--max-requests-per-minute", 2)
        server = self.serve("--keys-file", FILES / "keys.jsonl")
        with grpc.insecure_channel(server.address) as a_channel:
            stub = pb_grpc.InferenceServiceStub(a_channel)
            running = stub.Generate(generate(), metadata=bearer(alice))
            next(running)
            for key, words in ((alice, "CONCURRENCY_LIMIT"), (bob, "RATE_LIMIT")):
                with self.assertRaises(grpc.RpcError) as caught:
                    for _ in range(3):
                        list(stub.Generate(generate(1), metadata=bearer(key)))
                self.assertEqual(caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
                self.assertEqual(reason(caught.exception), words)
                names = [any.TypeName() for any in rpc_status.from_call(caught.exception).details]
                self.assertLessEqual({"google.rpc.QuotaFailure", "google.rpc.RetryInfo", "google.rpc.RequestInfo"},
                                     set(names))
            running.cancel()


class Client(WithServer):
    def test_tls(self):
        server = self.tls("--tls-client-ca", FILES / "ca.pem")
        ask = lambda *flags: run(BITDIAL, "client", "--server", server.address.replace("127.0.0.1", "localhost"), "--health",
                                 "--timeout", "10", *flags)
        ours = ("--tls-ca", FILES / "ca.pem", "--tls-cert", FILES / "client.pem", "--tls-key", FILES / "client.key")
        self.assertEqual(ask(*ours).returncode, 0, ask(*ours).stderr)
        self.assertNotEqual(ask().returncode, 0)
        self.assertEqual(ask(*ours[:4]).returncode, EXIT_USAGE)  # a certificate without its key
        self.assertEqual(ask("--tls-ca", FILES / "nowhere.pem").returncode, EXIT_BAD_FILE)


if __name__ == "__main__":
    unittest.main(verbosity=2)
