#!/usr/bin/env python3
"""cmake/WriteCommit.cmake: what `bitdial --version` calls the commit. Usage: write_commit_test.py CMAKE"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

CMAKE = ""
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "cmake" / "WriteCommit.cmake"
# Nothing of the user's or the machine's: hooks, signing, a default branch.
GIT = dict(os.environ, GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1", GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@b",
           GIT_COMMITTER_NAME="a", GIT_COMMITTER_EMAIL="a@b")


class WriteCommitTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="bitdial_commit_")
        self.addCleanup(folder.cleanup)
        self.tree = pathlib.Path(folder.name) / "tree"
        self.output = pathlib.Path(folder.name) / "commit.cc"
        self.tree.mkdir()

    def git(self, *arguments):
        done = subprocess.run(["git", "-C", self.tree, *arguments], env=GIT, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def make_repository(self):
        if shutil.which("git") is None:
            self.skipTest("SKIPPED: the commit of a repository needs git")
        self.git("init")
        (self.tree / "file").write_text("one")
        self.git("add", "file")
        self.git("commit", "-m", "first")

    def commit(self, source=None, given=""):
        subprocess.run([CMAKE, f"-DSOURCE_DIR={source or self.tree}", f"-DOUTPUT={self.output}", f"-DCOMMIT={given}", "-P",
                        SCRIPT], env=GIT, check=True)
        found = re.search(r'bitdial::server::Commit\(\) { return "(.*)"; }', self.output.read_text())
        return found.group(1)

    def test_a_tarball_does_not_know(self):
        self.assertEqual(self.commit(), "unknown")

    def test_what_the_builder_says_is_believed(self):
        self.assertEqual(self.commit(given="0123456789ab"), "0123456789ab")

    def test_twelve_digits_whatever_the_tags(self):
        self.make_repository()
        self.git("tag", "v1.0")
        self.assertEqual(self.commit(), self.git("rev-parse", "HEAD")[:12])

    def test_changes_are_said(self):
        self.make_repository()
        (self.tree / "file").write_text("two")
        self.assertEqual(self.commit(), self.git("rev-parse", "HEAD")[:12] + "-dirty")

    def test_a_tree_inside_another_repository_does_not_know(self):
        self.make_repository()
        (self.tree / "unpacked").mkdir()
        self.assertEqual(self.commit(self.tree / "unpacked"), "unknown")

    def test_the_same_commit_compiles_nothing_again(self):
        self.make_repository()
        self.commit()
        os.utime(self.output, (1, 1))
        self.commit()
        self.assertEqual(self.output.stat().st_mtime, 1)


if __name__ == "__main__":
    CMAKE = sys.argv.pop(1)
    unittest.main()
