#!/usr/bin/env python3
"""`bitdial serve` and `bitdial client` as processes: ready line, signals, exit codes, messages. Run by ctest."""
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest

import served
from served import Server, run, wait_until

BITDIAL = served.bitdial_path()


def client(server, *flags, **keywords):
    address = server if isinstance(server, str) else server.address
    return run(BITDIAL, "client", "--server", address, *flags, **keywords)


def start_client(server, *flags):
    return subprocess.Popen([BITDIAL, "client", "--server", server.address, *flags], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


LONG = ("--prompt", "abc", "--max-tokens", "30000", "--ignore-eos")


def setUpModule():
    global FOLDER, DENSE, BITS
    FOLDER = served.temporary_folder()
    DENSE, BITS = served.make_model(BITDIAL, FOLDER.name)


def tearDownModule():
    FOLDER.cleanup()


class WithServer(unittest.TestCase):
    """One server for all; none of these tests ends it."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(BITDIAL, BITS)

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0, cls.server.log

    def test_ready_line_says_what_is_served(self):
        for part in ("tiny-bits", self.server.address, "bits 2, 3, 4", "cpu_", "weights", "KV cache", "resident"):
            self.assertIn(part, self.server.ready_line)

    def test_answers_at_every_bits_and_repeats_itself(self):
        texts = {}
        for bits in (2, 3, 4):
            answers = [json.loads(client(self.server, "--prompt", "the thing", "--bits", bits, "--temperature", 0,
                                         "--max-tokens", 24, "--json").stdout) for _ in range(2)]
            self.assertEqual(answers[0]["token_ids"], answers[1]["token_ids"])
            self.assertEqual(answers[0]["bits"], bits)
            self.assertGreater(answers[0]["completion_tokens"], 0)
            texts[bits] = answers[0]["token_ids"]
        self.assertNotEqual(texts[2], texts[4])

    def test_same_seed_same_text(self):
        flags = ("--prompt", "x", "--max-tokens", 20, "--json", "--ignore-eos", "--temperature", 1, "--seed")
        ids = [json.loads(client(self.server, *flags, seed).stdout)["token_ids"] for seed in (1, 1, 2)]
        self.assertEqual(ids[0], ids[1])
        self.assertNotEqual(ids[0], ids[2])

    def test_text_on_stdout_figures_on_stderr(self):
        done = client(self.server, "--chat", "--system", "brief", "--prompt", "hi", "--max-tokens", 5, "--temperature", 0)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"\[4 bits, \d+ prompt tokens, \d+ tokens at [\d.]+/s.*\]")
        self.assertNotIn("prompt tokens", done.stdout)

    def test_prompt_from_standard_input(self):
        done = client(self.server, "--prompt", "-", "--max-tokens", 3, "--json", input="héllo")
        self.assertEqual(json.loads(done.stdout)["prompt_tokens"], 6)  # bytes; no merge fits

    def test_health_and_model_info(self):
        self.assertEqual(client(self.server, "--health").stdout, "SERVING\n")
        info = json.loads(client(self.server, "--model-info", "--json").stdout)
        self.assertEqual(info["weight_bits"], [2, 3, 4])
        self.assertEqual(info["chat_template"], "chatml")
        self.assertGreater(info["kv_cache_bytes"], 0)

    def test_bits_the_model_lacks(self):
        for bits in ("7", "dense"):
            done = client(self.server, "--prompt", "x", "--bits", bits)
            self.assertEqual(done.returncode, 2)
            self.assertIn("this model has 2, 3, 4", done.stderr)

    def test_interrupt_cancels_on_the_server_too(self):
        process = start_client(self.server, *LONG)
        self.assertTrue(process.stdout.read(1))
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(30), 130)
        process.communicate()
        self.assertTrue(wait_until(lambda: any("ended: " in line and "status=CANCELLED" in line for line in self.server.log)))

    def test_timeout_ends_the_computing(self):
        done = client(self.server, *LONG, "--timeout", "0.3")
        self.assertEqual(done.returncode, 10)
        self.assertIn("within 0.3 s; give a longer --timeout", done.stderr)
        self.assertTrue(wait_until(lambda: any("status=DEADLINE_EXCEEDED" in line or "status=CANCELLED" in line
                                               for line in self.server.log)))

    def test_port_in_use(self):
        done = run(BITDIAL, "serve", BITS, "--listen", self.server.address)
        self.assertEqual(done.returncode, 7)
        self.assertIn("Address already in use", done.stderr)
        self.assertEqual(client(self.server, "--health").returncode, 0)


class GenerationConfig(unittest.TestCase):
    def test_do_sample_decides_the_default_temperature(self):
        """Seeds change nothing in a greedy answer, and do change one at temperature 1."""
        for text, is_greedy in (('{"do_sample": false, "temperature": 1.0}', True), ('{"do_sample": true}', False)):
            model = pathlib.Path(FOLDER.name) / f"sampling_{is_greedy}"
            shutil.copytree(BITS, model)
            (model / "generation_config.json").write_text(text)
            server = Server(BITDIAL, model)
            flags = ("--prompt", "x", "--max-tokens", 20, "--json", "--ignore-eos", "--seed")
            ids = [json.loads(client(server, *flags, seed).stdout)["token_ids"] for seed in (1, 2)]
            self.assertEqual(server.stop(), 0)
            self.assertEqual(ids[0] == ids[1], is_greedy)


class Signals(unittest.TestCase):
    def test_sigterm_and_sigint_exit_0_when_idle(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            server = Server(BITDIAL, BITS)
            server.signal(number)
            self.assertEqual(server.wait(), 0, server.log)

    def test_sighup_changes_nothing(self):
        server = Server(BITDIAL, BITS)
        server.signal(signal.SIGHUP)
        self.assertEqual(client(server, "--prompt", "x", "--max-tokens", "1").returncode, 0, server.log)
        self.assertEqual(server.stop(), 0)

    def with_log_pipe(self, *flags):
        """A server whose stderr is a pipe of 4 KiB: the process, its address and the pipe's reading end."""
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        process = subprocess.Popen([BITDIAL, "serve", BITS, "--listen", "127.0.0.1:0", *flags], stdout=subprocess.PIPE,
                                   stderr=writer, text=True)
        os.close(writer)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        return process, re.search(r" on (\S+:\d+) ", process.stdout.readline())[1], reader

    def test_a_reader_of_the_log_that_leaves_ends_nothing(self):
        process, address, reader = self.with_log_pipe()
        os.close(reader)
        for _ in range(3):
            self.assertEqual(client(address, "--prompt", "x", "--max-tokens", "1").returncode, 0)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(60), 0)

    def test_a_log_that_nobody_reads_holds_up_no_second_signal(self):
        process, address, reader = self.with_log_pipe("--drain-timeout-s", "0")
        self.addCleanup(os.close, reader)
        for _ in range(40):
            self.assertEqual(client(address, "--prompt", "x", "--max-tokens", "1").returncode, 0)
        process.send_signal(signal.SIGTERM)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        self.assertIn(process.wait(60), (0, 128 + signal.SIGINT))

    def test_drain_refuses_new_requests_and_lets_running_ones_end(self):
        server = Server(BITDIAL, BITS)
        running = start_client(server, "--prompt", "abc", "--max-tokens", "3000", "--ignore-eos", "--json")
        self.assertTrue(wait_until(lambda: json.loads(client(server, "--model-info", "--json").stdout)["num_running"] == 1))
        server.signal(signal.SIGTERM)
        self.assertTrue(wait_until(lambda: any("draining" in line for line in server.log)))
        refused = client(server, "--prompt", "x")
        self.assertEqual(refused.returncode, 8)
        out, err = running.communicate(timeout=60)
        self.assertEqual(running.returncode, 0, err)
        self.assertEqual(json.loads(out)["completion_tokens"], 3000)
        self.assertEqual(server.wait(), 0)

    def test_drain_cancels_what_takes_too_long(self):
        server = Server(BITDIAL, BITS, "--drain-timeout-s", "1")
        running = start_client(server, *LONG)
        self.assertTrue(running.stdout.read(1))
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(30), 0)
        _, err = running.communicate(timeout=30)
        self.assertEqual(running.returncode, 8)
        self.assertIn("shutting down", err)

    def test_second_signal_ends_at_once(self):
        server = Server(BITDIAL, BITS)
        running = start_client(server, *LONG)
        self.assertTrue(running.stdout.read(1))
        server.signal(signal.SIGTERM)
        self.assertTrue(wait_until(lambda: any("draining" in line for line in server.log)))
        begin = time.monotonic()
        server.signal(signal.SIGINT)
        self.assertEqual(server.wait(), 128 + signal.SIGINT)
        self.assertLess(time.monotonic() - begin, 5)
        running.communicate(timeout=30)
        self.assertEqual(running.returncode, 8)


class Refusals(unittest.TestCase):
    """What stops the start, with its exit code and a message."""

    def refused(self, code, message, *flags, **keywords):
        done = run(BITDIAL, "serve", *flags, **keywords)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(message, done.stderr)

    def test_model(self):
        self.refused(3, "nowhere", "/nowhere/at/all", "--listen", "127.0.0.1:0")
        self.refused(2, "MODEL")

    def test_flags(self):
        self.refused(2, "--max-context: got \"many\"", BITS, "--max-context", "many")
        self.refused(2, "no TLS", BITS, "--listen", "0.0.0.0:0")
        self.refused(2, "ADDR:PORT", BITS, "--listen", "nowhere")

    def test_config_file_and_environment(self):
        path = f"{FOLDER.name}/config.json"
        for text, message in (('{"max_contxt": 1}', "max_context"), ('{"max_context": 1', "config.json"),
                              ('{"max_context": true}', "max_context")):
            with open(path, "w") as file:
                file.write(text)
            self.refused(9, message, BITS, "--config", path)
            self.refused(9, message, "--check-config", "--config", path)
        self.refused(9, "/nowhere.json", BITS, "--config", "/nowhere.json")
        self.refused(9, "BITDIAL_MAX_STOP_BYTES", BITS, env={"BITDIAL_MAX_STOP_BYTES": "x"})
        for flags in ((BITS,), ("--check-config",), ("--print-config",), (BITS, "--threads", "1")):
            self.refused(9, "BITDIAL_THREADS", *flags, env={"BITDIAL_THREADS": "abc"})
            self.refused(9, "did you mean \"BITDIAL_MAX_CONTEXT\"", *flags, env={"BITDIAL_MAX_CONTXT": "1"})

    def test_variables_of_others(self):
        kubernetes = {"BITDIAL_SERVICE_HOST": "10.0.0.11", "BITDIAL_SERVICE_PORT": "50051",
                      "BITDIAL_PORT": "tcp://10.0.0.11:50051", "BITDIAL_PORT_50051_TCP": "tcp://10.0.0.11:50051",
                      "BITDIAL_PORT_50051_TCP_ADDR": "10.0.0.11", "BITDIAL_FORCE_BACKEND": "cpu_ref",
                      "BITDIAL_SERVER": "10.0.0.11:50051"}
        self.assertEqual(run(BITDIAL, "serve", "--check-config", env=kubernetes).returncode, 0)
        self.refused(9, "BITDIAL_PORT: unknown", "--check-config", env={"BITDIAL_PORT": "50051"})

    def test_value_that_only_the_model_can_refuse(self):
        path = f"{FOLDER.name}/large.json"
        with open(path, "w") as file:
            file.write('{"max_context": 40000}')
        message = "max_context 40000 is over the model's max_position_embeddings, 32768"
        listen = (BITS, "--listen", "127.0.0.1:0")
        self.refused(9, f"{path}: {message}", *listen, "--config", path)
        variable = "BITDIAL_MAX_CONTEXT"
        self.refused(9, f"environment variable {variable}: {message}", *listen, env={variable: "40000"})
        self.refused(2, f"--max-context: {message}", *listen, "--max-context", "40000")
        self.refused(2, "--kv-cache-bytes: kv_cache_bytes 1 holds no block", *listen, "--kv-cache-bytes", "1")

    def test_printed_config_is_a_config(self):
        printed = run(BITDIAL, "serve", "--print-config", "--max-context", "77").stdout
        self.assertEqual(json.loads(printed)["max_context"], 77)
        path = f"{FOLDER.name}/printed.json"
        with open(path, "w") as file:
            file.write(printed)
        self.assertEqual(run(BITDIAL, "serve", "--check-config", "--config", path).returncode, 0)
        self.assertEqual(run(BITDIAL, "serve", "--print-config", "--config", path).stdout, printed)

    def test_client_without_a_server(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        for flags in (("--prompt", "x"), ("--health",), ("--model-info",)):
            done = client(address, *flags)
            self.assertEqual(done.returncode, 8)
            self.assertIn("cannot reach", done.stderr)
            self.assertIn("bitdial serve", done.stderr)
        self.assertEqual(client(address).returncode, 2)

    def test_client_whose_server_does_not_answer(self):
        with socket.socket() as silent:  # takes connections and says nothing
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            done = client(f"127.0.0.1:{silent.getsockname()[1]}", "--health", "--timeout", "0.3")
        self.assertEqual(done.returncode, 8)
        self.assertIn("within 0.3 s", done.stderr)

    def test_json_log_lines(self):
        server = Server(BITDIAL, BITS, "--log-format", "json")
        client(server, "--prompt", "secret words", "--max-tokens", 2)
        self.assertEqual(server.stop(), 0)
        lines = [json.loads(line) for line in server.log]
        ended = [line for line in lines if line["message"].startswith("ended: ")]
        self.assertEqual(len(ended), 1)
        self.assertTrue(ended[0]["request_id"])
        self.assertNotIn("secret", "\n".join(server.log))


class ExampleConfigs(unittest.TestCase):
    """configs/*.json as they are, but for the port."""

    def test_each_serves_and_is_in_force(self):
        paths = sorted((served.SOURCE / "configs").glob("*.json"))
        self.assertGreaterEqual(len(paths), 3)
        for path in paths:
            with self.subTest(path.name):
                written = json.loads(path.read_text())
                in_force = json.loads(run(BITDIAL, "serve", "--print-config", "--config", path).stdout)
                self.assertEqual({key: in_force[key] for key in written}, written)
                host = written["listen"].rsplit(":", 1)[0]
                server = Server(BITDIAL, BITS, "--config", str(path), listen=f"{host}:0", context=None)
                port = server.address.rsplit(":", 1)[1]
                done = client(f"127.0.0.1:{port}", "--prompt", "the thing", "--max-tokens", 4, "--json", "--ignore-eos")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(json.loads(done.stdout)["completion_tokens"], 4)
                self.assertEqual(server.stop(), 0, server.log)
                if written["log_format"] == "json":
                    self.assertTrue(all(json.loads(line)["message"] for line in server.log))

    def test_only_the_containers_listens_beyond_this_machine(self):
        for path in (served.SOURCE / "configs").glob("*.json"):
            done = run(BITDIAL, "serve", "--check-config", "--config", path, "--listen", "0.0.0.0:50051")
            self.assertEqual(done.returncode, 0 if path.name == "container.json" else 2, f"{path.name}: {done.stderr}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
