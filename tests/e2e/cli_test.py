#!/usr/bin/env python3
"""The command line as a user meets it: contracts of --json, exit codes, and every bad input with its message.

Usage: cli_test.py BITDIAL [unittest arguments]. Standard library only.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "testing"))
import make_tiny_model  # noqa: E402

BITDIAL = ""
EXIT_USAGE, EXIT_BAD_FILE, EXIT_UNSUPPORTED, EXIT_MACHINE, EXIT_EXISTS, EXIT_RESOURCES = 2, 3, 4, 5, 6, 7
EXIT_BAD_CONFIG = 9


os.environ.setdefault("BITDIAL_KERNEL_CACHE", "off")  # as ctest sets it: the user's own file is left alone


def run(*arguments, env=None):
    environment = dict(os.environ, **(env or {}))
    return subprocess.run([BITDIAL, *map(str, arguments)], capture_output=True, text=True, timeout=120, env=environment)


class CliTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="bitdial_cli_"))
        cls.dense = cls.folder / "dense"
        make_tiny_model.write_model(cls.dense)
        cls.quantized = cls.folder / "quantized"
        result = run("quantize", cls.dense, "-o", cls.quantized, "--bits", "2-4", "--group-size", "32")
        assert result.returncode == 0, result.stderr

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def expect_failure(self, result, code, *words):
        self.assertEqual(result.returncode, code, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)
        self.assertNotIn("check failed", result.stderr)

    def copy_of(self, model, name):
        target = self.folder / name
        shutil.copytree(model, target)
        self.addCleanup(shutil.rmtree, target)
        return target

    def generate_json(self, model, *arguments):
        result = run("generate", model, "--prompt", "the thing", "--max-tokens", "12", "--json", *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    # What commands promise.

    def test_every_command_teaches_with_an_example(self):
        self.assertEqual(run("--help").returncode, 0)
        self.assertIn("Exit codes", run("--help").stdout)
        for command in ["quantize", "generate", "eval", "serve", "client", "bench", "inspect", "doctor"]:
            result = run(command, "--help")
            self.assertEqual(result.returncode, 0)
            self.assertIn("Example", result.stdout, command)

    def test_version_names_the_build(self):
        result = run("--version")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r"^bitdial \d+\.\d+\.\d+\n"
                                        r"commit +([0-9a-f]{12}(-dirty)?|unknown)\n"
                                        r"compiler +\w+ [\d.]+\n"
                                        r"build +\w+\n"
                                        r"backends +(\w+, )*cpu_ref(, \w+)*\n"
                                        r"backend +\w+\n$")

    def test_version_json_contract(self):
        for flags in [("--version", "--json"), ("--json", "--version")]:
            result = run(*flags)
            self.assertEqual(result.returncode, 0, result.stderr)
            out = json.loads(result.stdout)
            self.assertEqual(list(out), ["version", "commit", "compiler", "build_type", "backends", "backend"])
            self.assertIn(f"bitdial {out['version']}\n", run("--version").stdout)
            self.assertEqual(out["backend"], json.loads(run("doctor", "--json").stdout)["backend"])
            kernels = json.loads(run("doctor", "--kernels", "--json").stdout)["kernels"]
            self.assertEqual(set(out["backends"]), {kernel["backend"] for kernel in kernels})
        self.expect_failure(run("--json"), EXIT_USAGE, "--version")
        self.expect_failure(run("--json", "doctor"), EXIT_USAGE, "--version")

    def test_version_survives_a_wrong_backend(self):
        wrong = {"BITDIAL_FORCE_BACKEND": "cpu_mmx"}
        result = run("--version", env=wrong)
        self.assertEqual(result.returncode, 0)
        self.assertIn("cpu_mmx", result.stdout)
        out = json.loads(run("--version", "--json", env=wrong).stdout)
        self.assertIsNone(out["backend"])
        self.assertIn("cpu_mmx", out["backend_error"])

    def test_generate_json_contract(self):
        out = self.generate_json(self.quantized, "--bits", "3")
        self.assertEqual(set(out), {"text", "token_ids", "bits", "numerics", "prompt_tokens", "prompt_tokens_per_s",
                                    "decode_tokens_per_s", "finish_reason"})
        self.assertEqual(out["bits"], 3)
        self.assertLessEqual(len(out["token_ids"]), 12)
        self.assertGreater(out["prompt_tokens_per_s"], 0)

    def test_greedy_is_repeatable_at_any_thread_count(self):
        for bits in ["2", "3", "4"]:
            one = self.generate_json(self.quantized, "--bits", bits, "--threads", "1")
            three = self.generate_json(self.quantized, "--bits", bits, "--threads", "3")
            self.assertEqual(one["token_ids"], three["token_ids"])

    def test_numerics_that_round_run_on_any_backend(self):
        for numerics in ("int16", "int8"):
            self.same_ids_on_any_backend(numerics)

    def same_ids_on_any_backend(self, numerics):
        ids = {}
        for backend in ["", "cpu_ref", "cpu_avx2"]:
            env = {"BITDIAL_FORCE_BACKEND": backend} if backend else {}
            result = run("generate", self.quantized, "--prompt", "the", "--max-tokens", "12", "--temperature", "0",
                         "--numerics", numerics, "--ignore-eos", "--json", env=env)
            if result.returncode == 5:
                continue  # this processor lacks the backend
            self.assertEqual(result.returncode, 0, result.stderr)
            out = json.loads(result.stdout)
            self.assertEqual(out["numerics"], numerics)
            ids[backend] = len(out["token_ids"])
        self.assertGreaterEqual(len(ids), 2)
        self.assertEqual(set(ids.values()), {12})

    def test_eval_scores_with_the_kernels_asked_for(self):
        text = self.folder / "int8.txt"
        text.write_text("the thing in the other house was there on another day. " * 20)
        scores = {}
        for numerics in ["exact", "int16", "int8"]:
            for kernels in ["prompt", "decode"]:
                result = run("eval", self.quantized, "--perplexity", text, "--window", "64", "--numerics", numerics, "--json",
                             *(["--decode-kernels"] if kernels == "decode" else []))
                self.assertEqual(result.returncode, 0, result.stderr)
                out = json.loads(result.stdout)
                self.assertEqual((out["numerics"], out["kernels"]), (numerics, kernels))
                scores[numerics, kernels] = out["perplexity"]
        self.assertEqual(scores["int16", "prompt"], scores["exact", "prompt"])
        self.assertEqual(scores["int8", "prompt"], scores["int8", "decode"])  # one class
        self.assertEqual(len(set(scores.values())), 4, scores)
        self.assertAlmostEqual(scores["int16", "decode"], scores["exact", "decode"], delta=0.01 * scores["exact", "decode"])
        for score in scores.values():
            self.assertAlmostEqual(score, scores["exact", "prompt"], delta=0.05 * score)

    def test_threads_that_cannot_be_started_are_named(self):
        limits = "ulimit -v 3000000; exec \"$@\""
        result = subprocess.run(["bash", "-c", limits, "bash", BITDIAL, "generate", self.quantized, "--prompt", "a",
                                 "--threads", "1024"], capture_output=True, text=True, timeout=120)
        self.assertEqual(result.returncode, 7, result.stderr)
        self.assertIn("1024 threads cannot be started", result.stderr)

    def test_bench_of_a_tiny_shape_is_bounded(self):
        result = run("bench", "linear", "--shape", "1x32", "--group-size", "32", "--bits", "2", "--rows", "1",
                     "--samples", "1", "--threads", "1", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_what_the_linears_hold_is_offered(self):
        for name, bits, override, offered in [("all8", "2-4", "model.layers.*=8", 8),
                                              ("above", "2-4", "model.layers.*=5-6", 6),
                                              ("apart", "2-3", "*.v_proj.weight=5-6", 6)]:
            out = self.folder / name
            made = run("quantize", self.dense, "-o", out, "--bits", bits, "--tensor", override)
            self.assertEqual(made.returncode, 0, made.stderr)
            self.assertEqual(self.generate_json(out)["bits"], offered, name)
            self.assertEqual(self.generate_json(out, "--bits", offered - 1 if name != "all8" else 8)["bits"],
                             offered - 1 if name != "all8" else 8)

    def test_seed_decides_sampling(self):
        hot = ["--temperature", "5", "--ignore-eos"]
        first = self.generate_json(self.dense, *hot, "--seed", "1")
        again = self.generate_json(self.dense, *hot, "--seed", "1")
        other = self.generate_json(self.dense, *hot, "--seed", "2")
        self.assertEqual(first["token_ids"], again["token_ids"])
        self.assertNotEqual(first["token_ids"], other["token_ids"])

    def test_dense_model_says_dense(self):
        self.assertEqual(self.generate_json(self.dense)["bits"], "dense")
        self.assertEqual(self.generate_json(self.dense, "--bits", "dense")["bits"], "dense")

    def test_text_mode_streams_and_reports_on_stderr(self):
        result = run("generate", self.quantized, "--prompt", "the", "--max-tokens", "4", "--chat")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("tokens at", result.stderr)

    def test_eval_json_contract(self):
        text = self.folder / "text.txt"
        text.write_text("the thing in the other house was there on another day. " * 20)
        for bits in ["2", "4"]:
            result = run("eval", self.quantized, "--perplexity", text, "--bits", bits, "--window", "64", "--json")
            self.assertEqual(result.returncode, 0, result.stderr)
            out = json.loads(result.stdout)
            self.assertGreater(out["perplexity"], 1)
            self.assertEqual(out["tokens"], out["windows"] * 31)  # second half, the first of it only as context

    def test_inspect(self):
        out = json.loads(run("inspect", self.quantized, "--json", "--tensors").stdout)
        self.assertEqual(out["quantization"]["max_bits"], 4)
        self.assertEqual(out["tokenizer"]["chat_template"], "chatml")
        self.assertTrue(any(tensor["name"].endswith("q_proj.qweight") for tensor in out["tensors"]))
        self.assertEqual(run("inspect", self.dense, "--tensors").returncode, 0)

    def test_doctor_lists_kernels(self):
        out = json.loads(run("doctor", "--kernels", "--json").stdout)
        backends = {kernel["backend"] for kernel in out["kernels"]}
        self.assertEqual(backends & {"cpu_ref", "cpu_avx2", "cpu_avx512"}, {"cpu_ref", "cpu_avx2", "cpu_avx512"})
        self.assertTrue(all(kernel["runnable"] for kernel in out["kernels"] if kernel["backend"] == "cpu_ref"))

    def test_bench_runs(self):
        result = run("bench", "linear", "--shape", "256x256", "--bits", "2", "--rows", "1,3", "--samples", "1", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(json.loads(result.stdout)["results"]), 2)
        result = run("bench", "linear", "--shape", "256x256", "--bits", "2,4", "--rows", "1,4", "--mixed", "--samples", "1",
                     "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        calls = [(r["bits"], r["rows"]) for r in json.loads(result.stdout)["results"]]
        self.assertEqual(calls, [(2, 1), (2, 4), (4, 1), (4, 4), ([2, 4], 4)])
        result = run("bench", "engine", self.quantized, "--prompt-tokens", "8", "--tokens", "4", "--requests", "1,2",
                     "--samples", "1", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_bench_step_accounts_for_every_kernel(self):
        result = run("bench", "step", self.quantized, "--steps", "8", "--context", "4", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        out = json.loads(result.stdout)
        layers = json.loads((self.quantized / "config.json").read_text())["num_hidden_layers"]
        calls = {kernel["what"]: kernel["calls"] for kernel in out["kernels"]}
        self.assertEqual(calls["attention"], layers)
        self.assertEqual(calls["rms_norm"], 2 * layers + 1)
        # Seven linears in a layer, down to four where some are fused, and the head.
        linears = sum(n for what, n in calls.items() if what.startswith("linear"))
        self.assertIn(linears, range(4 * layers + 1, 7 * layers + 2))
        self.assertAlmostEqual(sum(kernel["share"] for kernel in out["kernels"]), 1, places=6)

    def test_bench_takes_more_requests_than_the_default_kv_cache(self):
        context = str(json.loads((self.quantized / "config.json").read_text())["max_position_embeddings"] - 10)
        result = run("bench", "step", self.quantized, "--steps", "8", "--context", context, "--rows", "8", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_a_bench_that_is_ended_leaves_nothing(self):
        temporary = self.folder / "tmp"
        temporary.mkdir()
        process = subprocess.Popen([BITDIAL, "bench", "step", "--shape", "llama-1.1b:2"], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, env=dict(os.environ, TMPDIR=str(temporary)))
        while not list(temporary.iterdir()) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        self.assertIn(process.wait(60), [128 + signal.SIGTERM, -signal.SIGTERM])
        self.assertEqual(list(temporary.iterdir()), [])

    def test_bench_engine_takes_a_model_or_a_shape(self):
        for arguments, words in [([], "a MODEL or --shape"), ([self.quantized, "--shape", "llama-1.1b"], "one of them"),
                                 (["--shape", "llama-9b"], "there are: llama-1.1b"),
                                 ([self.quantized, "--shape-bits", "2"], "is of --shape"),
                                 (["--shape", "llama-8b:33"], "layers from 1 to 32"),
                                 (["--shape", "llama-1.1b", "--shape-bits", "4-2"], "the smaller comes first")]:
            with self.subTest(arguments):
                self.expect_failure(run("bench", "engine", *arguments), EXIT_USAGE, words)

    def test_quantize_json_report(self):
        out = self.folder / "reported"
        result = run("quantize", self.dense, "-o", out, "--bits", "3", "--method", "bcq", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        report = json.loads(result.stdout)
        names = [tensor["name"] for tensor in report["tensors"]]
        self.assertTrue(any("q_proj" in name for name in names))
        self.assertGreater(report["bits_per_weight"], 3)

    def test_every_method_serves(self):
        for method in ["rtn", "bcq", "anybcq"]:
            out = self.folder / f"method_{method}"
            result = run("quantize", self.dense, "-o", out, "--method", method, "--bits", "2-3")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.generate_json(out, "--bits", "2")
            self.assertEqual(json.loads(run("inspect", out, "--json").stdout)["quantization"]["method"], method)

    # What commands refuse.

    def test_wrong_flags(self):
        self.expect_failure(run("generate"), EXIT_USAGE)
        self.expect_failure(run("nonsense"), EXIT_USAGE, '"nonsense" is no command')
        self.expect_failure(run("quantise"), EXIT_USAGE, 'did you mean "quantize"')
        self.expect_failure(run("generate", self.dense, "--prompt", "x", "--temperature", "-1"), EXIT_USAGE)
        self.expect_failure(run("generate", self.dense, "--prompt", "x", "--temperature", "nan"), EXIT_USAGE)
        self.expect_failure(run("generate", self.dense, "--prompt", "x", "--top-p", "2"), EXIT_USAGE)

    def test_numbers_are_finite_and_in_range(self):
        # None of these models exists: a wrong number is found before anything is opened.
        generate = ["generate", "/nowhere", "--prompt", "x"]
        floats = ["--temperature", "--top-p", "--min-p", "--repetition-penalty"]
        integers = [(generate, "--seed"), (generate, "--max-tokens"), (generate, "--top-k"), (generate, "--threads"),
                    (["eval", "/nowhere", "--perplexity", "x"], "--window"),
                    (["eval", "/nowhere", "--perplexity", "x"], "--max-windows"),
                    (["bench", "engine", "/nowhere"], "--requests"), (["bench", "engine", "/nowhere"], "--tokens"),
                    (["bench", "linear"], "--rows"), (["bench", "linear"], "--samples")]
        for command, flag in [(generate, flag) for flag in floats] + integers:
            for value in ["nan", "-nan", "inf", "-inf", "1e400", "-1", "99999999999999999999", ""]:
                with self.subTest(flag=flag, value=value):
                    self.expect_failure(run(*command, flag, value), EXIT_USAGE, flag)

    def test_client_flags_are_checked_before_connecting(self):
        for flag in ["--timeout", "--temperature", "--seed", "--max-tokens"]:
            for value in ["nan", "inf", "-inf", "-1", "1e400", "x"]:
                with self.subTest(flag=flag, value=value):
                    self.expect_failure(run("client", "--prompt", "x", flag, value), EXIT_USAGE, flag)
        self.expect_failure(run("client", "--prompt", "x", "--timeout", "0"), EXIT_USAGE, "--timeout")
        for server in ["127.0.0.1:99999", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1", ":50051", "", "a b:1",
                       "http://127.0.0.1:50051", "::1:50051"]:
            with self.subTest(server=server):
                self.expect_failure(run("client", "--health", "--server", server), EXIT_USAGE, "--server")
                self.expect_failure(run("client", "--health", env={"BITDIAL_SERVER": server}), EXIT_BAD_CONFIG,
                                    "BITDIAL_SERVER")
        for flag in ["--prompt", "--system", "--stop"]:
            flags = {"--prompt": b"x", "--system": b"x", "--stop": b"x", flag: b"ab\xff"}
            words = [word for pair in flags.items() for word in pair]
            result = subprocess.run([BITDIAL, "client", "--chat", *words], capture_output=True, timeout=60)
            self.assertEqual(result.returncode, EXIT_USAGE)
            self.assertEqual(result.stderr.decode(), f"bitdial: {flag}: is not UTF-8\n")

    def test_threads_of_the_environment(self):
        for command in [["generate", self.dense, "--prompt", "x"], ["eval", self.dense, "--perplexity", __file__],
                        ["bench", "engine", self.dense], ["serve", "--check-config"]]:
            for value in ["abc", "-1", "1025"]:
                with self.subTest(command=command[0], value=value):
                    self.expect_failure(run(*command, env={"BITDIAL_THREADS": value}), EXIT_BAD_CONFIG,
                                        "environment variable BITDIAL_THREADS")
        # It is nobody else's.
        self.assertEqual(run("inspect", self.dense, env={"BITDIAL_THREADS": "abc"}).returncode, 0)

    def test_bits_the_model_lacks(self):
        self.expect_failure(run("generate", self.quantized, "--prompt", "x", "--bits", "7"), EXIT_USAGE, "2, 3, 4")
        self.expect_failure(run("generate", self.quantized, "--prompt", "x", "--bits", "dense"), EXIT_USAGE)
        self.expect_failure(run("generate", self.dense, "--prompt", "x", "--bits", "4"), EXIT_USAGE, "quantize")

    def test_empty_prompt_without_bos(self):
        self.expect_failure(run("generate", self.dense, "--prompt", ""), EXIT_USAGE, "empty prompt")

    def test_invalid_utf8_prompt(self):
        result = subprocess.run([BITDIAL, "generate", self.dense, "--prompt", b"ab\xff"], capture_output=True, timeout=60)
        self.assertEqual(result.returncode, EXIT_USAGE)
        self.assertIn(b"UTF-8", result.stderr)

    def test_prompt_longer_than_the_context(self):
        self.expect_failure(run("generate", self.dense, "--prompt", "x" * 300), EXIT_USAGE, "256")

    def test_missing_paths(self):
        self.expect_failure(run("generate", self.folder / "nowhere", "--prompt", "x"), EXIT_BAD_FILE, "nowhere")
        empty = self.folder / "empty"
        empty.mkdir(exist_ok=True)
        self.expect_failure(run("inspect", empty), EXIT_BAD_FILE, "config.json")
        self.expect_failure(run("eval", self.dense, "--perplexity", self.folder / "no.txt"), EXIT_BAD_FILE, "no.txt")

    def test_eval_window_beyond_the_model(self):
        result = run("eval", self.dense, "--perplexity", __file__, "--window", "512")
        self.expect_failure(result, EXIT_USAGE, "--window", "256")

    def test_eval_text_that_is_none(self):
        result = run("eval", self.dense, "--perplexity", self.folder)
        self.expect_failure(result, EXIT_BAD_FILE, str(self.folder), "it is a folder")
        text = self.folder / "latin1.txt"
        text.write_bytes(b"the thing in the other house " * 100000 + b"caf\xe9 on another day")
        result = run("eval", self.dense, "--perplexity", text)
        self.expect_failure(result, EXIT_BAD_FILE, str(text), "byte 2900003 (0xe9) is not UTF-8")

    def test_generation_config_that_is_wrong(self):
        for name, text, word in [("range", '{"temperature": -1}', "temperature"), ("type", '{"top_p": "x"}', "top_p"),
                                 ("bool", '{"do_sample": 1}', "do_sample"),
                                 ("eos", '{"eos_token_id": "x"}', "eos_token_id"),
                                 ("array", "[1]", "an object"), ("syntax", "{", "malformed JSON")]:
            model = self.copy_of(self.quantized, "generation_" + name)
            (model / "generation_config.json").write_text(text)
            with self.subTest(name):
                self.expect_failure(run("generate", model, "--prompt", "x"), EXIT_BAD_FILE, "generation_config", word)

    def test_damaged_files(self):
        for name, damage in {
            "truncated": lambda data: data[: len(data) // 2],
            "header_cut": lambda data: data[:4],
            "empty": lambda data: b"",
            "huge_header": lambda data: b"\xff" * 8 + data[8:],
        }.items():
            model = self.copy_of(self.dense, "damaged_" + name)
            weights = model / "model.safetensors"
            weights.write_bytes(damage(weights.read_bytes()))
            self.expect_failure(run("generate", model, "--prompt", "x"), EXIT_BAD_FILE, "model.safetensors")

    def test_damaged_gguf(self):
        path = self.folder / "broken.gguf"
        for data in [b"", b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 16, b"GGML" + b"\0" * 64]:
            path.write_bytes(data)
            self.expect_failure(run("inspect", path), EXIT_BAD_FILE, "broken.gguf")

    def test_nan_weights_are_refused_by_name(self):
        model = self.copy_of(self.dense, "nan")
        weights = model / "model.safetensors"
        data = bytearray(weights.read_bytes())
        data[-4:] = b"\x00\x00\xc0\x7f"
        weights.write_bytes(data)
        self.expect_failure(run("generate", model, "--prompt", "x"), EXIT_BAD_FILE, "model.norm.weight")
        self.expect_failure(run("quantize", model, "-o", self.folder / "from_nan"), EXIT_BAD_FILE, "model.norm.weight")
        self.assertFalse((self.folder / "from_nan").exists())

    def test_nan_in_a_quantized_weight(self):
        model = self.copy_of(self.dense, "nan_linear")
        weights = model / "model.safetensors"
        data = bytearray(weights.read_bytes())
        size = int.from_bytes(data[:8], "little")
        begin, _ = json.loads(data[8:8 + size])["model.layers.1.mlp.up_proj.weight"]["data_offsets"]
        data[8 + size + begin:8 + size + begin + 4] = b"\x00\x00\xc0\x7f"
        weights.write_bytes(data)
        out = self.folder / "from_nan_linear"
        for arguments in [("generate", model, "--prompt", "x"), ("quantize", model, "-o", out)]:
            self.expect_failure(run(*arguments), EXIT_BAD_FILE, "model.layers.1.mlp.up_proj")
        self.assertFalse(out.exists())

    def edit_config(self, name, **changes):
        model = self.copy_of(self.dense, name)
        config = json.loads((model / "config.json").read_text())
        config.update(changes)
        (model / "config.json").write_text(json.dumps(config))
        return model

    def test_wrong_configs(self):
        for name, changes, code, word in [
            ("arch", {"architectures": ["MambaForCausalLM"]}, EXIT_UNSUPPORTED, "MambaForCausalLM"),
            ("act", {"hidden_act": "gelu"}, EXIT_UNSUPPORTED, "gelu"),
            ("heads", {"num_attention_heads": 0}, EXIT_BAD_FILE, "num_attention_heads"),
            ("type", {"hidden_size": "64"}, EXIT_BAD_FILE, "hidden_size"),
            ("float", {"num_hidden_layers": 1.5}, EXIT_BAD_FILE, "num_hidden_layers"),
            ("layers", {"num_hidden_layers": 3}, EXIT_BAD_FILE, "model.layers.2"),
            ("architectures", {"architectures": "LlamaForCausalLM"}, EXIT_BAD_FILE, "architectures"),
            ("rope", {"rope_scaling": {"type": "yarn", "factor": 2.0}}, EXIT_UNSUPPORTED, "yarn"),
            ("vocab", {"vocab_size": 300}, EXIT_BAD_FILE, "embed_tokens"),
        ]:
            with self.subTest(name):
                result = run("generate", self.edit_config("config_" + name, **changes), "--prompt", "x")
                self.expect_failure(result, code, word)

    def test_leftover_tensors_are_refused(self):
        text = self.folder / "leftovers.txt"
        text.write_text("the thing in the other house " * 20)
        dense = self.edit_config("leftovers", num_hidden_layers=1)
        quantized = self.copy_of(self.quantized, "leftovers_quantized")
        config = json.loads((quantized / "config.json").read_text())
        (quantized / "config.json").write_text(json.dumps(dict(config, num_hidden_layers=1)))
        for model in [dense, quantized]:
            for command in [["generate", model, "--prompt", "x"], ["eval", model, "--perplexity", text],
                            ["bench", "engine", model], ["serve", model, "--listen", "127.0.0.1:0"]]:
                with self.subTest(command=command[0]):
                    self.expect_failure(run(*command), EXIT_BAD_FILE, str(model), '"model.layers.1.')
            leftovers = json.loads(run("inspect", model, "--json").stdout)["leftover_tensors"]
            self.assertTrue(leftovers and all(name.startswith("model.layers.1.") for name in leftovers))
            self.assertIn("leftovers", run("inspect", model).stdout)
        out = self.folder / "from_leftovers"
        self.expect_failure(run("quantize", dense, "-o", out), EXIT_BAD_FILE, "9 of", '"model.layers.1.')
        self.assertFalse(out.exists())
        self.assertEqual(json.loads(run("inspect", self.quantized, "--json").stdout)["leftover_tensors"], [])

    def test_leftovers_that_mean_nothing_pass(self):
        model = self.copy_of(self.dense, "inv_freq")
        weights = model / "model.safetensors"
        data = weights.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8:8 + size])
        end = len(data) - 8 - size
        tensor = {"dtype": "F32", "shape": [4], "data_offsets": [end, end + 16]}
        header["model.layers.0.self_attn.rotary_emb.inv_freq"] = tensor
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        weights.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size:] + bytes(16))
        self.assertEqual(self.generate_json(model)["token_ids"], self.generate_json(self.dense)["token_ids"])
        out = self.folder / "from_inv_freq"
        self.assertEqual(run("quantize", model, "-o", out).returncode, 0)
        self.generate_json(out)

    def test_a_file_that_got_its_size_before_its_bytes(self):
        for source in [self.dense, self.quantized]:
            with self.subTest(source.name):
                model = self.copy_of(source, "half_written_" + source.name)
                weights = model / "model.safetensors"
                data = weights.read_bytes()
                weights.write_bytes(data[:len(data) // 2] + bytes(len(data) - len(data) // 2))
                words = [str(model), "is all zeros: an incomplete copy?", "Copy the model again"]
                self.expect_failure(run("generate", model, "--prompt", "x"), EXIT_BAD_FILE, "norm.weight", *words)
                if source == self.dense:
                    out = self.folder / "from_half_written"
                    self.expect_failure(run("quantize", model, "-o", out), EXIT_BAD_FILE, *words)
                    self.assertFalse(out.exists())

    def test_missing_shard(self):
        model = self.copy_of(self.dense, "sharded")
        (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
        index = {"metadata": {}, "weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
        (model / "model.safetensors.index.json").write_text(json.dumps(index))
        self.expect_failure(run("inspect", model), EXIT_BAD_FILE, "model-00002-of-00002.safetensors")

    def test_broken_tokenizer(self):
        model = self.copy_of(self.dense, "tokenizer")
        (model / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": 3}}')
        result = run("generate", model, "--prompt", "x")
        self.assertIn(result.returncode, [EXIT_BAD_FILE, EXIT_UNSUPPORTED, EXIT_USAGE])
        self.assertIn("tokenizer.json", result.stderr)

    def test_links_in_circles(self):
        for name in ["tokenizer.json", "tokenizer_config.json", "config.json", "model.safetensors"]:
            with self.subTest(name):
                model = self.copy_of(self.dense, "circle_" + name)
                (model / name).unlink(missing_ok=True)
                (model / name).symlink_to(name)
                self.expect_failure(run("generate", model, "--prompt", "x"), EXIT_BAD_FILE,
                                    f"{model / name}: cannot open: Too many levels of symbolic links")

    def test_a_snapshot_without_its_blobs(self):
        cache = self.folder / "cache"
        (cache / "blobs").mkdir(parents=True)
        snapshot = self.copy_of(self.dense, "cache/snapshots/1f")
        for file in list(snapshot.iterdir()):
            file.rename(cache / "blobs" / file.name)
            file.symlink_to(f"../../blobs/{file.name}")
        self.generate_json(snapshot)
        shutil.rmtree(cache / "blobs")
        for command in [["generate", snapshot, "--prompt", "x"], ["inspect", snapshot]]:
            self.expect_failure(run(*command), EXIT_BAD_FILE, f"{snapshot}/config.json: is a link to "
                                "../../blobs/config.json, which is not there", "the one above snapshots/")

    def test_a_working_folder_that_is_gone(self):
        gone = self.folder / "gone"
        gone.mkdir()
        result = subprocess.run(["bash", "-c", 'rmdir "$0"; exec "$@"', gone, BITDIAL, "generate", self.dense, "--prompt", "x",
                                 "--max-tokens", "1"], cwd=gone, capture_output=True, text=True, timeout=60)
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_unknown_chat_template_is_refused_for_chat_only(self):
        model = self.copy_of(self.dense, "template")
        (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ something(else) }}"}))
        self.assertEqual(run("generate", model, "--prompt", "x", "--max-tokens", "1").returncode, 0)
        self.expect_failure(run("generate", model, "--prompt", "x", "--chat"), EXIT_MACHINE, "something(else)")

    def test_quantize_refuses_what_generate_refuses(self):
        """And before it works: the model would be of no use."""
        def with_config(name, **changes):
            model = self.copy_of(self.dense, "refused_" + name)
            config = json.loads((model / "config.json").read_text())
            (model / "config.json").write_text(json.dumps(dict(config, **changes)))
            return model
        broken = self.copy_of(self.dense, "refused_tokenizer")
        (broken / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": 3}}')
        bare = self.copy_of(self.dense, "refused_bare")
        (bare / "tokenizer.json").unlink()
        sampling = self.copy_of(self.dense, "refused_sampling")
        (sampling / "generation_config.json").write_text('{"top_p": 7}')
        for model, word in [
            (with_config("activation", hidden_act="swish2"), "swish2"),
            (with_config("layers", num_hidden_layers=3), '"model.layers.2.'),
            (with_config("head", tie_word_embeddings=False), "lm_head.weight"),
            (with_config("size", intermediate_size=96), "mlp.gate_proj"),
            (with_config("class", architectures=["MistralForCausalLM"]), "MistralForCausalLM"),
            (broken, "tokenizer.json"), (bare, "no tokenizer"), (sampling, "top_p"),
        ]:
            with self.subTest(model.name):
                out = self.folder / "from_refused"
                generated, quantized = run("generate", model, "--prompt", "x"), run("quantize", model, "-o", out)
                self.expect_failure(generated, quantized.returncode, word)
                self.assertEqual(quantized.stderr, generated.stderr)
                self.assertFalse(out.exists())

    def test_quantize_refusals(self):
        self.expect_failure(run("quantize", self.dense, "-o", self.quantized), EXIT_EXISTS, "quantized")
        out = self.folder / "refused"
        for arguments, word in [
            (["--bits", "9"], "9"), (["--bits", "4-2"], "4-2"), (["--bits", "zero"], "zero"),
            (["--group-size", "48"], "48"), (["--method", "magic"], "magic"), (["--embedding-bits", "12"], "12"),
        ]:
            self.expect_failure(run("quantize", self.dense, "-o", out, *arguments), EXIT_USAGE, word)
        self.expect_failure(run("quantize", self.quantized, "-o", out), EXIT_MACHINE, "quantized")
        self.assertFalse(out.exists())
        self.assertNotEqual(run("quantize", self.dense, "-o", "/proc/nowhere/out").returncode, 0)

    def test_overwrite_replaces_only_what_quantize_made(self):
        mine = self.folder / "mine"
        mine.mkdir()
        (mine / "precious").write_text("x")
        source = self.copy_of(self.dense, "overwrite_source")
        for target in [mine, source]:
            self.expect_failure(run("quantize", source, "-o", target, "--overwrite"), EXIT_EXISTS, "not made by quantize")
        self.assertTrue((mine / "precious").exists())
        out = self.folder / "overwritten"
        for bits in ["2", "3"]:
            self.assertEqual(run("quantize", source, "-o", out, "--bits", bits, "--overwrite").returncode, 0)
        self.assertEqual(self.generate_json(out)["bits"], 3)

    def test_full_disk_for_results_is_an_error(self):
        with open("/dev/full", "w") as full:
            result = subprocess.run([BITDIAL, "inspect", self.dense, "--json"], stdout=full, stderr=subprocess.PIPE,
                                    text=True, timeout=60)
        self.expect_failure(result, EXIT_RESOURCES, "could not be written")

    def test_killed_quantize_leaves_no_half_checkpoint(self):
        out = self.folder / "killed"
        process = subprocess.Popen([BITDIAL, "quantize", str(self.dense), "-o", str(out)], stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)
        time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if out.exists():  # it was faster than the kill: then it must be whole
            self.generate_json(out)

    def test_forced_backend(self):
        for backend in ["cpu_ref", "cpu_avx2", "cpu_avx512"]:
            result = run("doctor", "--json", env={"BITDIAL_FORCE_BACKEND": backend})
            if result.returncode == EXIT_MACHINE:
                print(f"SKIPPED: {backend}: {result.stderr.strip()}")
                continue
            self.assertEqual(json.loads(result.stdout)["backend"], backend)
            out = run("generate", self.quantized, "--prompt", "the", "--max-tokens", "3", "--json",
                      env={"BITDIAL_FORCE_BACKEND": backend})
            self.assertEqual(out.returncode, 0, out.stderr)
        self.expect_failure(run("doctor", env={"BITDIAL_FORCE_BACKEND": "cpu_mmx"}), EXIT_USAGE, "cpu_mmx", "cpu_avx2")


    def test_measured_kernels_are_kept_and_change_no_answer(self):
        expected = self.generate_json(self.quantized)["token_ids"]
        path = self.folder / "cache" / "choices.json"
        for numerics in ["exact", "int8"]:
            for _ in range(2):  # measured, then read
                result = run("generate", self.quantized, "--prompt", "the thing", "--max-tokens", "12", "--json", "--numerics",
                             numerics, env={"BITDIAL_KERNEL_CACHE": str(path)})
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                here = self.generate_json(self.quantized, "--numerics", numerics)
                self.assertEqual(json.loads(result.stdout)["token_ids"], here["token_ids"])
        self.assertEqual(json.loads(run("doctor", "--json", env={"BITDIAL_KERNEL_CACHE": str(path)}).stdout)["kernel_choices"],
                         {"measured": True, "file": str(path)})
        self.assertIn("BITDIAL_KERNEL_CACHE is off", run("doctor", env={"BITDIAL_KERNEL_CACHE": "off"}).stdout)
        if not path.exists():
            print("SKIPPED: measured kernels: two rows of a class need AVX-512")
            return
        path.write_text("{")
        result = run("generate", self.quantized, "--prompt", "the thing", "--max-tokens", "12", "--json",
                     env={"BITDIAL_KERNEL_CACHE": str(path)})
        self.assertEqual(result.returncode, 0)
        self.assertIn(f"note: {path}", result.stderr)
        self.assertEqual(json.loads(result.stdout)["token_ids"], expected)
        self.assertEqual(json.loads(path.read_text())["format"], 1)
        result = run("generate", self.quantized, "--prompt", "the", "--max-tokens", "1",
                     env={"BITDIAL_KERNEL_CACHE": "/proc/none/choices.json"})
        self.assertEqual(result.returncode, 0)
        self.assertIn("note: BITDIAL_KERNEL_CACHE: /proc/none", result.stderr)

    def test_forced_kernel(self):
        def generate(rows, numerics="int8"):
            return run("generate", self.quantized, "--prompt", "the", "--max-tokens", "3", "--json", "--numerics", numerics,
                       env={"BITDIAL_FORCE_KERNEL": rows})
        expected = generate("bcq_linear_i8_lut4__ref")  # of a class that every machine runs, but only when it is forced
        self.assertEqual(expected.returncode, 0, expected.stderr)
        plain = run("generate", self.quantized, "--prompt", "the", "--max-tokens", "3", "--json", "--numerics", "int8")
        self.assertEqual(json.loads(plain.stdout)["token_ids"], json.loads(expected.stdout)["token_ids"])
        step = run("bench", "step", self.quantized, "--steps", "8", "--context", "4", "--json", "--numerics", "int8",
                   env={"BITDIAL_FORCE_KERNEL": "bcq_linear_i8_lut4__ref"})
        rows = {tuple(kernel["rows"]) for kernel in json.loads(step.stdout)["kernels"] if kernel["what"] == "linear 64x64"}
        self.assertEqual(rows, {("bcq_linear_i8_lut4__ref",)}, step.stdout)
        self.expect_failure(generate("bcq_linear_i8_lut4_ref"), EXIT_USAGE, "is unknown", "bcq_linear_i8_lut4__ref")
        self.expect_failure(generate("bcq_linear_i8_lut4__ref", "exact"), EXIT_MACHINE, "bcq_i8", "numerics int8")
        self.expect_failure(generate("bcq_linear_i16_lut4__ref"), EXIT_USAGE, "runs nothing", "lut4_i16")
        here = run("doctor", "--json", env={"BITDIAL_FORCE_KERNEL": "bcq_linear_i8_lut4__ref"})
        self.assertEqual(here.returncode, 0, here.stderr)
        linear = ["bench", "linear", "--shape", "64x64", "--group-size", "32", "--bits", "2", "--rows", "1", "--samples", "1",
                  "--json"]
        result = run(*linear, "--kernel", "bcq_linear_i8_lut4__ref")
        self.assertEqual(json.loads(result.stdout)["results"][0]["kernel"], "bcq_linear_i8_lut4__ref")
        self.expect_failure(run(*linear, "--kernel", "bcq_linear_i16_lut4__ref"), EXIT_USAGE, "runs nothing")


if __name__ == "__main__":
    BITDIAL = sys.argv.pop(1)
    unittest.main(verbosity=2)
