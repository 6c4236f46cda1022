#!/usr/bin/env python3
"""What `cmake --install` and `cpack` make, as a user meets it: which files, that they work wherever they stand, and an
executable that serves. Needs neither root nor a network.

Usage: install_test.py BUILD_FOLDER CMAKE CPACK [unittest arguments]. Standard library only.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import served
from served import SOURCE, Server, run

BUILD, CMAKE, CPACK = "", "", ""
DOCS = ["api.md", "bench_serve.md", "cli.md", "configuration.md", "container.md", "glossary.md", "operations.md", "security.md"]
# No variable of the build or the tests reaches what is installed.
BARE = {"PATH": "/usr/bin:/bin"}


def setUpModule():
    global FOLDER
    FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="bitdial_install_"))
    unittest.addModuleCleanup(shutil.rmtree, FOLDER)


def stories():
    """The folder of stories260K and what llama2.c says after its prompts; None without the shared data."""
    data = pathlib.Path(os.environ.get("BITDIAL_SHARED_DATA", SOURCE / "../shared/data"))
    golden = data / "vectors/stories260K/golden.json"
    return (data / "models/stories260K-hf", json.loads(golden.read_text())["cases"]) if golden.exists() else None


class Tree:
    """Tests of a tree with bin/ and share/; a subclass sets `root` to it."""

    @property
    def bitdial(self):
        return self.root / "bin/bitdial"

    def test_holds_these_files_and_no_others(self):
        expected = ["bin/bitdial", "share/bitdial/proto/bitdial/v1/admin.proto", "share/bitdial/proto/bitdial/v1/inference.proto"]
        configs = [path for path in (SOURCE / "configs").rglob("*") if path.is_file()]
        expected += [f"share/bitdial/{path.relative_to(SOURCE)}" for path in configs]
        expected += [f"share/bitdial/docs/{name}" for name in DOCS]
        expected += [f"share/doc/bitdial/{name}" for name in ["CHANGELOG.md", "LICENSE", "copyright"]]
        found = [path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()]
        self.assertEqual(sorted(found), sorted(expected))

    def test_links_between_its_pages_hold(self):
        num_links = 0
        for name in DOCS:
            page = self.root / "share/bitdial/docs" / name
            for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
                self.assertTrue((page.parent / link).exists(), f"{name}: {link}")
                num_links += 1
        self.assertGreater(num_links, 0)

    def test_executable_looks_for_libraries_where_the_system_does(self):
        dynamic = run("readelf", "-d", self.bitdial, check=True).stdout
        self.assertIn("(NEEDED)", dynamic)
        self.assertNotRegex(dynamic, r"\((RPATH|RUNPATH)\)")

    def test_version_is_the_builds(self):
        done = run(self.bitdial, "--version", "--json", env=BARE, cwd="/")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout), json.loads(run(f"{BUILD}/bitdial", "--version", "--json", env=BARE).stdout))

    def test_quantizes_and_serves_with_each_config(self):
        folder = FOLDER / type(self).__name__ / "models"
        folder.mkdir(parents=True)
        _, bits = served.make_model(self.bitdial, folder)
        answers = set()
        for config in sorted((self.root / "share/bitdial/configs").glob("*.json")):
            server = Server(self.bitdial, bits, "--config", str(config), context=None)
            done = run(self.bitdial, "client", "--server", server.address, "--prompt", "the thing", "--bits", 3,
                       "--temperature", 0, "--max-tokens", 8, "--json", env=BARE, cwd="/")
            self.assertEqual(server.stop(), 0, server.log)
            self.assertEqual(done.returncode, 0, done.stderr)
            answers.add(tuple(json.loads(done.stdout)["token_ids"]))
        self.assertEqual(len(answers), 1)
        self.assertEqual(len(answers.pop()), 8)

    def test_answers_as_llama2c_does(self):
        if stories() is None:
            self.skipTest("SKIPPED: stories260K needs shared data")
        model, cases = stories()
        server = Server(self.bitdial, model, "--kv-format", "f32", context=None)
        for case in cases:
            done = run(self.bitdial, "client", "--server", server.address, "--prompt", case["prompt"], "--temperature", 0,
                       "--max-tokens", len(case["greedy_ids"]), "--ignore-eos", "--json", env=BARE, cwd="/")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout)["token_ids"], case["greedy_ids"], case["prompt"])
        self.assertEqual(server.stop(), 0, server.log)
        self.assertGreater(len(cases), 5)


class InstalledTree(Tree, unittest.TestCase):
    """Installed to one prefix, then moved to another."""

    @classmethod
    def setUpClass(cls):
        cls.root = FOLDER / "moved here"
        run(CMAKE, "--install", BUILD, "--prefix", FOLDER / "prefix", check=True)
        (FOLDER / "prefix").rename(cls.root)


class DebianPackage(Tree, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for tool in ["dpkg-deb", "dpkg-shlibdeps", "dpkg-query", "file"]:
            if shutil.which(tool) is None:
                raise unittest.SkipTest(f"SKIPPED: the Debian package needs {tool}")
        made = run(CPACK, "-G", "DEB", "-B", FOLDER / "cpack", cwd=BUILD, umask=0o077, timeout=300)
        if made.returncode != 0:
            raise RuntimeError(f"cpack failed with {made.returncode}:\n{made.stdout}{made.stderr}")
        (cls.package,) = (FOLDER / "cpack").glob("*.deb")
        run("dpkg-deb", "-x", cls.package, FOLDER / "extracted", check=True)
        cls.root = FOLDER / "extracted/usr"

    def field(self, name):
        return run("dpkg-deb", "-f", self.package, name, check=True).stdout.strip()

    def test_is_called_as_debian_calls_packages(self):
        version = json.loads(run(self.bitdial, "--version", "--json").stdout)["version"]
        architecture = run("dpkg", "--print-architecture", check=True).stdout.strip()
        self.assertEqual(self.package.name, f"bitdial_{version}_{architecture}.deb")
        self.assertEqual([self.field(name) for name in ["Package", "Version", "Architecture"]],
                         ["bitdial", version, architecture])

    def test_depends_on_the_package_of_every_library_it_loads(self):
        depends = {re.split(r"[ (]", entry.strip())[0] for entry in self.field("Depends").split(",")}
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-d", self.bitdial, check=True).stdout)
        loaded = dict(re.findall(r"(\S+) => (\S+)", run("ldd", self.bitdial, check=True).stdout))
        for library in needed:
            if not library.startswith("ld-linux"):
                self.assertTrue(self.names_of_package_with(loaded[library]) & depends, f"{library}: {depends}")
        self.assertGreater(len(needed), 5)
        self.assertIn("libc6", depends)

    def names_of_package_with(self, path):
        """The installed package of a library, and what it provides (a name for each of its ABIs)."""
        path = path.removeprefix("/usr")  # /lib is /usr/lib, and dpkg knows a file by either name
        for name in [path, "/usr" + path]:
            found = subprocess.run(["dpkg-query", "-S", name], capture_output=True, text=True)
            if found.returncode == 0:
                package = found.stdout.split(":")[0]
                provides = run("dpkg-query", "-W", "-f", "${Provides}\n", package, check=True).stdout.splitlines()[0]
                return {package} | {re.split(r"[ (]", entry.strip())[0] for entry in provides.split(",")}
        return set()

    def test_everyone_may_read_and_only_root_may_write(self):
        for line in run("dpkg-deb", "-c", self.package, check=True).stdout.splitlines():
            self.assertRegex(line, r"^(-rw-r--r--|[-d]rwxr-xr-x) root/root ")


if __name__ == "__main__":
    BUILD, CMAKE, CPACK = (sys.argv.pop(1) for _ in range(3))
    unittest.main(verbosity=2)
