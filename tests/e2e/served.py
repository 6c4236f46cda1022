"""A real `bitdial serve` on a quantized tiny model, for tests. Standard library only."""
import collections
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import typing

SOURCE = pathlib.Path(__file__).resolve().parents[2]
# Long enough for a request that is still running when a test interrupts it.
CONTEXT = 32768
START_TIMEOUT_S = 120

# What a user's shell has set of the server's configuration would change what the tests expect.
for name in [name for name in os.environ if name.startswith("BITDIAL_")]:
    if name not in ("BITDIAL_FORCE_BACKEND", "BITDIAL_KERNEL_CACHE", "BITDIAL_PYTHON", "BITDIAL_SHARED_DATA", "BITDIAL_SMOLLM2",
                    "BITDIAL_TORCH_PYTHON"):
        del os.environ[name]
os.environ.setdefault("BITDIAL_KERNEL_CACHE", "off")  # as ctest sets it: the user's own file is left alone


def run(*command, timeout=120, **keywords):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout, **keywords)


def make_model(bitdial, folder):
    """A tiny random Llama, dense and with 2 to 4 bit-planes. Returns both paths."""
    dense, bits = pathlib.Path(folder) / "tiny", pathlib.Path(folder) / "tiny-bits"
    run(sys.executable, SOURCE / "tests/testing/make_tiny_model.py", dense, "--context", CONTEXT, check=True)
    made = run(bitdial, "quantize", dense, "-o", bits, "--bits", "2-4")
    if made.returncode != 0:
        raise RuntimeError(f"bitdial quantize failed with {made.returncode}:\n{made.stderr}")
    return dense, bits


def make_demo(bitdial, folder):
    """demo/llama with 2 to 4 bit-planes: trained, so that prompts and bits change its answers."""
    bits = pathlib.Path(folder) / "demo-bits"
    made = run(bitdial, "quantize", SOURCE / "demo/llama", "-o", bits, "--bits", "2-4", "--group-size", 64)
    if made.returncode != 0:
        raise RuntimeError(f"bitdial quantize failed with {made.returncode}:\n{made.stderr}")
    return bits


class Footprint(typing.NamedTuple):
    """What the kernel says a process holds now."""
    resident_kib: int
    threads: collections.Counter  # by name, of which the kernel keeps 15 characters
    descriptors: int


def footprint(pid):
    process = pathlib.Path(f"/proc/{pid}")
    resident = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS:"))
    return Footprint(int(resident.split()[1]), thread_names(process), len(os.listdir(process / "fd")))


def thread_names(process):
    names = collections.Counter()
    for thread in (process / "task").iterdir():
        try:
            names[(thread / "comm").read_text().strip()] += 1
        except OSError:
            pass  # it has ended meanwhile
    return names


class Server:
    """Started on a free port; `log` collects stderr. context None: what the config or the model says."""

    def __init__(self, bitdial, model, *flags, listen="127.0.0.1:0", context=CONTEXT):
        command = [str(bitdial), "serve", str(model), "--listen", listen, *flags]
        if context is not None:
            command += ["--max-context", str(context)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.log = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self.ready_line = self._read_ready_line()
        self.address = self.ready_line.split(" on ")[1].split()[0]

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))

    def _read_ready_line(self):
        line = []
        reader = threading.Thread(target=lambda: line.append(self.process.stdout.readline()), daemon=True)
        reader.start()
        reader.join(START_TIMEOUT_S)
        if not line or not line[0].startswith("Serving "):
            self.process.kill()
            raise RuntimeError("the server did not come up:\n" + "\n".join(self.log))
        return line[0].rstrip("\n")

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=60):
        """The exit code, as a shell would see it."""
        code = self.process.wait(timeout)
        self._reader.join(5)
        self.process.stdout.close()
        self.process.stderr.close()
        return 128 - code if code < 0 else code

    def stop(self):
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            raise RuntimeError("the server did not end after SIGTERM:\n" + "\n".join(self.log[-20:])) from error


def wait_until(is_true, timeout=20):
    end = time.monotonic() + timeout
    while not is_true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# A checkpoint in the layout of the AnyBCQ release, as an independent script wrote it, and what that computed.
ANYBCQ_RELEASE = SOURCE / "tests/golden/anybcq_release"
ANYBCQ_CONTEXT = 128


def anybcq_golden():
    return json.loads((ANYBCQ_RELEASE / "tokens.json").read_text())


def bitdial_path():
    """The executable under test: the environment variable BITDIAL, set by ctest."""
    path = os.environ.get("BITDIAL")
    if not path:
        sys.exit("set BITDIAL to the executable under test, or run through ctest")
    return path


def temporary_folder():
    return tempfile.TemporaryDirectory(prefix="bitdial_e2e_")
