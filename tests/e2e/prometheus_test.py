#!/usr/bin/env python3
"""The metrics of a real `bitdial serve`, asked for by a real Prometheus: the page, the example configuration and alerts, and
every query of the Grafana dashboard.

Run by ctest; BITDIAL names the executable. Standard library only. Needs Debian's prometheus (with promtool) and is skipped
without.
"""
import json
import math
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import unittest
import urllib.error
import urllib.parse
import urllib.request

import served
from served import SOURCE, Server, run, wait_until

SKIPPED = 77
BITDIAL = served.bitdial_path()
DASHBOARD = json.loads((SOURCE / "configs/grafana/bitdial.json").read_text())
PROMTOOL = shutil.which("promtool")
PROMETHEUS = shutil.which("prometheus")
if not PROMTOOL or not PROMETHEUS:
    print("SKIPPED: the dashboard and the alerts need prometheus and promtool (Debian's prometheus)")
    sys.exit(SKIPPED)


PROMPT = "Once upon a time there was a small house at the end of a long road. " * 6  # the prefix cache takes it

NAME = 'de"mo\\\u00e9,level="x"'


def setUpModule():
    global FOLDER, MODEL
    FOLDER = served.temporary_folder()
    unittest.addModuleCleanup(FOLDER.cleanup)
    MODEL = pathlib.Path(FOLDER.name) / "bits"
    run(BITDIAL, "quantize", SOURCE / "demo/llama", "-o", MODEL, "--bits", "2-4", "--group-size", 64, check=True)


def start(*flags):
    """A server and the URL of its metrics."""
    server = Server(BITDIAL, MODEL, "--metrics-listen", "127.0.0.1:0", *flags, context=None)
    (url,) = re.findall(r"metrics on (http://\S+)", "\n".join(server.log))
    return server, url


def client(server, *flags):
    return run(BITDIAL, "client", "--server", server.address, *flags)


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def queries():
    """(title, expression) of every query of the dashboard."""
    return [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


class Prometheus:
    """The one of the example configuration, which asks more often here, and another address."""

    def __init__(self, folder, target):
        text = (SOURCE / "configs/prometheus.yml").read_text()
        for old, new in (("15s", "500ms"), ("127.0.0.1:9464", target), ("alerts.yml", str(SOURCE / "configs/alerts.yml"))):
            assert old in text, old
            text = text.replace(old, new)
        config = pathlib.Path(folder) / "prometheus.yml"
        config.write_text(text)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%d" % probe.getsockname()[1]
        self.url = f"http://{address}"
        self.log = open(pathlib.Path(folder) / "prometheus.log", "w+")
        self.process = subprocess.Popen(
            [PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb",
             f"--web.listen-address={address}"], stdout=self.log, stderr=subprocess.STDOUT)
        if not wait_until(self.is_ready, 60):
            self.log.seek(0)
            raise RuntimeError("Prometheus did not come up:\n" + self.log.read())

    def is_ready(self):
        try:
            return "Ready" in fetch(self.url + "/-/ready")
        except OSError:
            return False

    def query(self, expression):
        """[(labels, value)] of an instant query."""
        answer = json.loads(fetch(f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
        assert answer["status"] == "success", answer
        return [(sample["metric"], float(sample["value"][1])) for sample in answer["data"]["result"]]

    def value(self, expression):
        return sum(value for _, value in self.query(expression))

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


class Watched(unittest.TestCase):
    """A server that Prometheus watches, after some load at each of its bits."""

    @classmethod
    def setUpClass(cls):
        cls.server, cls.url = start("--log-format", "json", "--model-name", NAME)
        cls.prometheus = Prometheus(FOLDER.name, urllib.parse.urlparse(cls.url).netloc)
        assert wait_until(lambda: cls.prometheus.value("bitdial_serving") == 1, 60)
        for loads in (1, 2):  # a rate needs two scrapes that differ
            for bits in (2, 3, 4):
                client(cls.server, "--prompt", PROMPT, "--bits", bits, "--max-tokens", 16, "--ignore-eos")
            client(cls.server, "--prompt", "x", "--max-tokens", 100000)  # past the context
            assert wait_until(lambda: cls.seen() == (3 * loads, loads)), cls.seen()

    @classmethod
    def seen(cls):
        """How many requests of the load have ended, and were refused, as of the last scrape."""
        return (cls.prometheus.value("bitdial_requests_total"),
                cls.prometheus.value('bitdial_requests_rejected_total{reason="INVALID_FIELD"}'))

    @classmethod
    def tearDownClass(cls):
        cls.prometheus.stop()
        assert cls.server.stop() == 0, cls.server.log

    def test_every_query_of_the_dashboard_has_an_answer(self):
        self.assertGreater(len(queries()), 25)
        for title, text in queries():
            with self.subTest(panel=title, query=text):
                expression = text.replace("$__rate_interval", "1m").replace("$instance", ".*")
                self.assertNotIn("$", expression)
                samples = self.prometheus.query(expression)
                self.assertTrue(samples)
                if "histogram_quantile" in text:  # NaN where no request of these bits came
                    samples = [sample for sample in samples if sample[0]["weight_bits"] != "auto"]
                for labels, value in samples:
                    self.assertTrue(math.isfinite(value), labels)

    def test_load_shows(self):
        rate = "rate(%s[1m])"
        for bits in (2, 3, 4):
            for name in ("bitdial_generation_tokens_total", "bitdial_prompt_tokens_total",
                         "bitdial_time_to_first_token_seconds_count", "bitdial_inter_token_latency_seconds_count",
                         "bitdial_e2e_request_latency_seconds_sum", "bitdial_request_queue_time_seconds_count"):
                self.assertGreater(self.prometheus.value(rate % f'{name}{{weight_bits="{bits}"}}'), 0, name)
        self.assertEqual(self.prometheus.value('bitdial_generation_tokens_total{weight_bits="3"}'), 32)
        self.assertEqual(self.prometheus.value('bitdial_requests_total{weight_bits="3",status="OK",reason="length"}'), 2)
        self.assertEqual(self.prometheus.value('bitdial_requests_rejected_total{reason="INVALID_FIELD"}'), 2)
        for name in ("bitdial_process_resident_memory_bytes", "bitdial_weight_bytes", "bitdial_kv_cache_bytes",
                     "bitdial_computed_tokens_total", "bitdial_steps_total", "bitdial_step_seconds_total",
                     "bitdial_host_gap_seconds_total", 'bitdial_kv_blocks{state="free"}', "bitdial_auto_planes",
                     "bitdial_prefix_cache_queried_tokens_total", "bitdial_prefix_cache_hit_tokens_total"):
            self.assertGreater(self.prometheus.value(name), 0, name)

    def test_the_models_name_is_a_value_everywhere(self):
        ((labels, value),) = self.prometheus.query("bitdial_model_info")
        self.assertEqual((labels["model"], value), (NAME, 1))
        for line in self.server.log:
            self.assertEqual(json.loads(line)["level"], "info")

    def test_no_alert_fires(self):
        self.assertEqual(self.prometheus.query('ALERTS{alertstate="firing"}'), [])

    def test_the_page_is_as_promtool_wants_it(self):
        checked = run(PROMTOOL, "check", "metrics", input=fetch(self.url))
        self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))

    def test_the_page_holds_no_text_of_a_request(self):
        client(self.server, "--prompt", "xyzzy-secret", "--bits", 2, "--max-tokens", 4)
        self.assertNotIn("xyzzy", fetch(self.url))
        self.assertNotIn("xyzzy", "\n".join(self.server.log))

    def test_nothing_else_is_served(self):
        base = self.url[:-len("/metrics")]
        for path in ("/", "/metrics/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/etc/passwd"):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                fetch(base + path)
            self.assertIn(caught.exception.code, (400, 404), path)
            caught.exception.close()


class Endpoint(unittest.TestCase):
    def test_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            done = run(BITDIAL, "serve", MODEL, "--listen", "127.0.0.1:0", "--metrics-listen", address)
        self.assertEqual(done.returncode, 7, done.stderr)
        self.assertIn(f"metrics_listen {address}: cannot listen there: Address already in use", done.stderr)

    def test_beyond_this_machine_needs_its_key(self):
        flags = ("serve", MODEL, "--check-config", "--metrics-listen", "0.0.0.0:9464")
        done = run(BITDIAL, *flags)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("--allow-remote-metrics", done.stderr)
        self.assertEqual(run(BITDIAL, *flags, "--allow-remote-metrics").returncode, 0)

    def test_idle_and_dripping_clients_hold_up_neither_answers_nor_the_end(self):
        server, url = start()
        host, port = urllib.parse.urlparse(url).netloc.split(":")
        with socket.create_connection((host, int(port))), socket.create_connection((host, int(port))) as dripping:
            dripping.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
            self.assertIn("bitdial_serving 1", fetch(url))
            self.assertEqual(client(server, "--health").stdout.strip(), "SERVING")
            server.signal(signal.SIGTERM)
            self.assertEqual(server.wait(), 0, server.log)

    def test_large_and_broken_requests(self):
        server, url = start()
        host, port = urllib.parse.urlparse(url).netloc.split(":")
        for request in (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", b"\0" * 1000, b"GET\r\n\r\n",
                        b"POST /metrics HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n"):
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                try:
                    connection.sendall(request)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(100)
                except TimeoutError:
                    raise
                except OSError:
                    pass  # refused before it was read; also "not connected", which is no ConnectionError
        self.assertIn("bitdial_serving 1", fetch(url))
        self.assertEqual(server.stop(), 0)


class Files(unittest.TestCase):
    def test_configuration_and_alerts(self):
        for command in (("check", "config", SOURCE / "configs/prometheus.yml"),
                        ("check", "rules", SOURCE / "configs/alerts.yml"),
                        ("test", "rules", SOURCE / "tests/e2e/alerts_test.yml")):
            done = run(PROMTOOL, *command)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_alert_is_explained(self):
        page = (SOURCE / "docs/operations.md").read_text()
        names = re.findall(r"- alert: (\w+)", (SOURCE / "configs/alerts.yml").read_text())
        self.assertTrue(names)
        for name in names:
            self.assertIn(f"| `{name}` |", page)

    def test_the_dashboard_fits_together(self):
        ids = [panel["id"] for panel in DASHBOARD["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
        for panel in DASHBOARD["panels"]:
            grid = panel["gridPos"]
            self.assertLessEqual(grid["x"] + grid["w"], 24, panel["title"])
            for target in panel.get("targets", []):
                self.assertEqual(target["datasource"]["uid"], "${datasource}")
                self.assertLessEqual(set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}, variables)

    def test_every_metric_is_on_the_dashboard(self):
        page = (SOURCE / "docs/operations.md").read_text()
        shown = " ".join(text for _, text in queries())
        for name in re.findall(r"^\| `(bitdial_\w+)` \|", page, re.MULTILINE):
            self.assertIn(name, shown)


if __name__ == "__main__":
    unittest.main(verbosity=2)
