#!/usr/bin/env python3
"""Dockerfile, .dockerignore, compose.yaml and configs/haproxy.cfg agree with each other, with the tree and with the
executable. It builds and runs no container: scripts/container_check.sh does.

Run by ctest. Needs PyYAML in the interpreter that BITDIAL_PYTHON names for compose.yaml; that part is skipped without.
"""
import other_python  # first: it may change the interpreter

import json
import os
import pathlib
import re
import unittest

try:
    import yaml
except ImportError:
    yaml = None

import served
from served import SOURCE, run

BITDIAL = served.bitdial_path()
INSTALLED = pathlib.PurePath("/usr/share/bitdial")  # where the package puts configs/
CONTAINER = json.loads((SOURCE / "configs/container.json").read_text())
PORT = CONTAINER["listen"].rsplit(":", 1)[1]


def instructions():
    """(name, arguments) of each instruction of the Dockerfile."""
    lines = [line for line in (SOURCE / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in whole.splitlines() if line.strip()]


class Dockerfile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.all = instructions()
        last_from = max(i for i, (name, _) in enumerate(cls.all) if name == "FROM")
        cls.image = cls.all[last_from + 1:]  # what the image that runs is made of

    def value(self, name):
        values = [arguments for instruction, arguments in self.image if instruction == name]
        self.assertEqual(len(values), 1, name)
        return values[0]

    def expect_command(self, words):
        """Every flag is one that the command's help knows, and every installed file is in the tree."""
        words = [word for word in words if word != "bitdial"]
        known = set(re.findall(r"--[a-z-]+", run(BITDIAL, words[0], "--help", check=True).stdout))
        for word in words:
            if word.startswith("--"):
                self.assertIn(word, known)
            elif word.startswith(str(INSTALLED)):
                self.assertTrue((SOURCE / pathlib.PurePath(word).relative_to(INSTALLED)).is_file(), word)

    def test_what_is_copied_exists(self):
        copied = [arguments.split()[:-1] for name, arguments in self.all if name == "COPY" and "--from" not in arguments]
        self.assertTrue(copied)
        for path in sum(copied, []):
            self.assertTrue((SOURCE / path).exists(), path)

    def test_the_build_gets_what_it_is_built_from(self):
        allowed = [line[1:] for line in (SOURCE / ".dockerignore").read_text().splitlines() if line.startswith("!")]
        for pattern in allowed:
            self.assertTrue(list(SOURCE.glob(pattern)), f".dockerignore: {pattern} is nothing of the tree")
        text = (SOURCE / "CMakeLists.txt").read_text() + (SOURCE / "cmake/Install.cmake").read_text()
        needed = set(re.findall(r"add_subdirectory\((\w+)\)", text)) - {"tests"}
        for files in re.findall(r"install\(FILES\s+(.*?)\s+DESTINATION", text, re.DOTALL):
            needed |= set(files.split())
        self.assertIn("docs/cli.md", needed)
        for path in needed:
            self.assertTrue(any(pathlib.PurePath(path).match(pattern) or path.split("/")[0] == pattern
                                for pattern in allowed), f".dockerignore leaves out {path}")

    def test_runs_as_a_number_that_is_not_root(self):
        self.assertRegex(self.value("USER"), r"^[1-9]\d*:[1-9]\d*$")

    def test_commands_are_lists_that_the_executable_knows(self):
        self.assertEqual(json.loads(self.value("ENTRYPOINT")), ["bitdial"])  # a list: no shell in between
        command = json.loads(self.value("CMD"))
        self.assertEqual(command[:2], ["serve", "/model"])
        self.expect_command(command)
        self.assertIn(str(INSTALLED / "configs/container.json"), command)
        health = json.loads(self.value("HEALTHCHECK").split("CMD", 1)[1])
        self.assertEqual(health[:3], ["bitdial", "client", "--health"])
        self.expect_command(health)

    def test_health_is_asked_where_the_server_listens(self):
        self.assertEqual(self.value("EXPOSE"), PORT)
        self.assertIn(f"127.0.0.1:{PORT}", run(BITDIAL, "client", "--help", check=True).stdout)


class Proxy(unittest.TestCase):
    def test_the_check_counts_its_frame_right(self):
        text = (SOURCE / "configs/haproxy.cfg").read_text()
        sent = bytes.fromhex("".join(re.findall(r"tcp-check send-binary ([0-9a-f]+)", text)))
        kinds = []
        while sent:
            size = int.from_bytes(sent[:3], "big")
            kinds.append(sent[3])
            sent = sent[9 + size:]
        self.assertEqual(kinds, [4, 1, 0])  # SETTINGS, HEADERS, DATA

    def test_it_asks_the_server_where_compose_has_it(self):
        self.assertIn(f"${{PROXY_SERVER-bitdial:{PORT}}}", (SOURCE / "configs/haproxy.cfg").read_text())


@unittest.skipIf(yaml is None, "SKIPPED: compose.yaml needs PyYAML of tests/e2e/requirements.txt; set BITDIAL_PYTHON")
class Compose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.file = yaml.safe_load((SOURCE / "compose.yaml").read_text())
        cls.services = cls.file["services"]

    def test_each_service_is_bounded_and_may_nothing(self):
        self.assertEqual(set(self.services), {"bitdial", "proxy"})
        for name, service in self.services.items():
            with self.subTest(name):
                self.assertTrue(service["read_only"])
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertEqual(service["security_opt"], ["no-new-privileges:true"])
                self.assertEqual(service["restart"], "unless-stopped")  # on-failure would leave it away after a reboot
                for limit in ("mem_limit", "pids_limit"):
                    self.assertIn(limit, service)

    def test_it_starts_on_a_host_of_one_cpu(self):
        """Docker refuses a limit above what the host has, so only the user can name one; 0 is none."""
        self.assertEqual(self.services["bitdial"]["cpus"], "${CPUS:-0}")
        self.assertNotIn("cpus", self.services["proxy"])

    def test_only_the_proxy_is_reached_from_outside(self):
        self.assertNotIn("ports", self.services["bitdial"])
        self.assertEqual(self.services["bitdial"]["networks"], ["inside"])
        self.assertTrue(self.file["networks"]["inside"]["internal"])
        self.assertIn("127.0.0.1", self.services["proxy"]["ports"][0])  # unless the user says otherwise

    def test_mounts(self):
        (model,) = self.services["bitdial"]["volumes"]
        self.assertEqual((model["target"], model["read_only"], model["bind"]["create_host_path"]), ("/model", True, False))
        for mount in self.services["proxy"]["volumes"]:
            self.assertTrue(mount.endswith(":ro"), mount)
        source = self.services["proxy"]["volumes"][0].split(":")[0]
        self.assertTrue((SOURCE / source).is_file(), source)

    def test_metrics_stay_inside(self):
        self.assertEqual(self.services["bitdial"]["environment"]["BITDIAL_METRICS_LISTEN"].rsplit(":", 1)[0], "0.0.0.0")
        self.assertNotIn("ports", self.services["bitdial"])
        self.assertNotIn("9464", (SOURCE / "configs/haproxy.cfg").read_text())

    def test_variables_are_keys_of_the_configuration(self):
        variables = self.services["bitdial"]["environment"]
        done = run(BITDIAL, "serve", "--check-config", env={**os.environ, **variables})
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_there_is_time_to_stop(self):
        def seconds(text):
            return int(re.fullmatch(r"(\d+)s", text)[1])

        drain = int(self.services["bitdial"]["environment"]["BITDIAL_DRAIN_TIMEOUT_S"])
        self.assertGreater(seconds(self.services["bitdial"]["stop_grace_period"]), drain)
        hard_stop = re.search(r"hard-stop-after (\S+)", (SOURCE / "configs/haproxy.cfg").read_text())[1]
        self.assertGreater(seconds(hard_stop), drain)
        self.assertGreater(seconds(self.services["proxy"]["stop_grace_period"]), seconds(hard_stop))
        self.assertEqual(self.services["proxy"]["stop_signal"], "SIGUSR1")


if __name__ == "__main__":
    unittest.main(verbosity=2)
