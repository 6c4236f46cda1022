#!/usr/bin/env python3
"""An OPT as a user meets it: quantize, inspect, generate, eval, serve; and what is refused. Standard library only.

Run by ctest; BITDIAL names the executable.
"""
import json
import pathlib
import shutil
import sys
import tempfile
import unittest

import served
from served import Server, run

sys.path.insert(0, str(served.SOURCE / "tests/testing"))
import make_tiny_model  # noqa: E402

BITDIAL = served.bitdial_path()
EXIT_USAGE, EXIT_BAD_FILE, EXIT_UNSUPPORTED = 2, 3, 4
CONTEXT = 128
NUM_TOKENS = len(make_tiny_model.opt_tokens())


def bitdial(*arguments):
    return run(BITDIAL, *arguments)


class OptTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="bitdial_opt_"))
        cls.dense, cls.quantized = cls.folder / "dense", cls.folder / "quantized"
        make_tiny_model.write_opt(cls.dense, context=CONTEXT)
        made = bitdial("quantize", cls.dense, "-o", cls.quantized, "--bits", "2-4", "--json")
        assert made.returncode == 0, made.stderr
        cls.report = json.loads(made.stdout)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def generate(self, model, *arguments, max_tokens=12):
        result = bitdial("generate", model, "--prompt", "the thing", "--max-tokens", max_tokens, "--json", *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    def copy_of(self, name, **config_changes):
        target = self.folder / name
        shutil.copytree(self.dense, target)
        self.addCleanup(shutil.rmtree, target)
        config = json.loads((target / "config.json").read_text())
        config.update(config_changes)
        (target / "config.json").write_text(json.dumps(config))
        return target

    def expect_failure(self, result, code, *words):
        self.assertEqual(result.returncode, code, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)
        self.assertNotIn("check failed", result.stderr)

    def expect_refused_by_all(self, model, code, *words):
        """quantize makes nothing of what generate does not take, and says the same."""
        result = bitdial("generate", model, "--prompt", "x")
        self.expect_failure(result, code, *words)
        out = self.folder / "refused"
        quantized = bitdial("quantize", model, "-o", out)
        self.expect_failure(quantized, code)
        self.assertEqual(quantized.stderr, result.stderr)
        self.assertFalse(out.exists())

    def test_quantize_keeps_positions_and_projections_dense(self):
        dense = {tensor["name"] for tensor in self.report["tensors"] if tensor["group_size"] == 0}
        decoder = "model.decoder."
        self.assertEqual(dense, {decoder + "embed_positions.weight", decoder + "project_in.weight",
                                 decoder + "project_out.weight"})

    def test_inspect(self):
        out = json.loads(bitdial("inspect", self.quantized, "--json", "--tensors").stdout)
        self.assertEqual(out["config"]["architectures"], ["OPTForCausalLM"])
        self.assertEqual(out["tokenizer"]["vocab_size"], NUM_TOKENS)
        self.assertEqual((out["quantization"]["min_bits"], out["quantization"]["max_bits"]), (2, 4))
        names = {tensor["name"] for tensor in out["tensors"]}
        self.assertIn("model.decoder.layers.1.fc2.qweight", names)
        self.assertIn("model.decoder.embed_tokens.qweight", names)

    def test_every_bits_is_repeatable_at_any_thread_count(self):
        texts = set()
        for bits in (2, 3, 4):
            one = self.generate(self.quantized, "--bits", bits, "--threads", 1)
            three = self.generate(self.quantized, "--bits", bits, "--threads", 3)
            self.assertEqual(one["token_ids"], three["token_ids"])
            texts.add(one["text"])
        self.assertGreater(len(texts), 1, "the bits change nothing")

    def test_the_empty_prompt_is_bos(self):
        result = bitdial("generate", self.dense, "--prompt", "", "--max-tokens", 1, "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout)["prompt_tokens"], 1)

    def test_padded_rows_are_never_sampled(self):
        # Without the bound, 100 draws at this temperature meet one of the 238 rows with certainty (1 - 0.54^100).
        out = self.generate(self.dense, "--temperature", 100, "--ignore-eos", "--seed", 5, max_tokens=100)
        self.assertEqual(len(out["token_ids"]), 100)
        self.assertLess(max(out["token_ids"]), NUM_TOKENS)

    def test_eval(self):
        text = self.folder / "text.txt"
        text.write_text("the thing in the other house was there on another day. " * 20)
        results = {}
        for model, bits in ((self.dense, "dense"), (self.quantized, "4"), (self.quantized, "2")):
            result = bitdial("eval", model, "--perplexity", text, "--bits", bits, "--window", 64, "--json")
            self.assertEqual(result.returncode, 0, result.stderr)
            results[bits] = json.loads(result.stdout)["perplexity"]
        self.assertGreater(results["dense"], 1)
        self.assertNotEqual(results["4"], results["2"])

    def test_serve(self):
        server = Server(BITDIAL, self.quantized, context=CONTEXT)
        try:
            def client(*flags):
                return bitdial("client", "--server", server.address, *flags)
            answer = client("--prompt", "the thing", "--bits", 3, "--temperature", 0, "--max-tokens", 12, "--json")
            self.assertEqual(answer.returncode, 0, answer.stderr)
            in_process = self.generate(self.quantized, "--bits", 3)
            self.assertEqual(json.loads(answer.stdout)["token_ids"], in_process["token_ids"])
            info = json.loads(client("--model-info", "--json").stdout)
            self.assertIn("OPTForCausalLM", json.dumps(info))
            too_long = client("--prompt", "x" * 2 * CONTEXT)
            self.expect_failure(too_long, EXIT_USAGE, f"the context takes {CONTEXT}")
        finally:
            self.assertEqual(server.stop(), 0, server.log)

    # What is refused.

    def test_prompt_longer_than_the_positions(self):
        self.expect_failure(bitdial("generate", self.dense, "--prompt", "x" * 2 * CONTEXT), EXIT_USAGE, str(CONTEXT))
        self.expect_failure(bitdial("generate", self.dense, "--prompt", "x", "--max-context", CONTEXT + 1), EXIT_USAGE,
                            f"max_position_embeddings, {CONTEXT}")

    def test_wrong_configs(self):
        for name, changes, code, *words in [
            ("act", {"activation_function": "silu"}, EXIT_UNSUPPORTED, "silu", "relu and gelu"),
            ("rows", {"max_position_embeddings": CONTEXT + 1}, EXIT_BAD_FILE, "embed_positions", str(CONTEXT + 3)),
            ("fewer", {"max_position_embeddings": CONTEXT - 1}, EXIT_BAD_FILE, "embed_positions", str(CONTEXT + 1)),
            ("proj", {"word_embed_proj_dim": 64}, EXIT_BAD_FILE, "project_in"),
            ("bias", {"enable_bias": False}, EXIT_BAD_FILE, "fc1.bias"),
            ("norm", {"do_layer_norm_before": True}, EXIT_BAD_FILE, "model.decoder.final_layer_norm"),
            ("heads", {"num_attention_heads": 5}, EXIT_BAD_FILE, "num_attention_heads 5"),
            ("type", {"do_layer_norm_before": "yes"}, EXIT_BAD_FILE, "do_layer_norm_before"),
            ("layers", {"num_hidden_layers": 3}, EXIT_BAD_FILE, "model.decoder.layers.2"),
            ("head", {"tie_word_embeddings": False}, EXIT_BAD_FILE, "lm_head.weight"),
        ]:
            with self.subTest(name):
                self.expect_refused_by_all(self.copy_of("config_" + name, **changes), code, *words)

    def test_vocabulary_and_merges_of_two_models(self):
        model = self.copy_of("merges")
        (model / "merges.txt").write_text("#version: 0.2\nt h\nth at\n")
        self.expect_failure(bitdial("generate", model, "--prompt", "x"), EXIT_BAD_FILE, "vocab.json",
                            '"at" is no token', "from one tokenizer")
        (model / "merges.txt").unlink()
        self.expect_failure(bitdial("generate", model, "--prompt", "x"), EXIT_BAD_FILE, "vocab.json with merges.txt")

    def test_merges_cut_short(self):
        model = self.copy_of("short_merges")
        (model / "merges.txt").write_text("#version: 0.2\nt h\n")
        self.expect_refused_by_all(model, EXIT_BAD_FILE, "merges.txt",
                                   'make 1 of the vocabulary\'s 14 tokens of several symbols, and not "in"',
                                   "copy it again")

    def test_a_file_that_got_its_size_before_its_bytes(self):
        model = self.copy_of("half_written")
        weights = model / "model.safetensors"
        data = weights.read_bytes()
        weights.write_bytes(data[:len(data) // 2] + bytes(len(data) - len(data) // 2))
        self.expect_refused_by_all(model, EXIT_BAD_FILE, "layer_norm.weight", "is all zeros: an incomplete copy?")

    def test_pickled_weights(self):
        model = self.copy_of("pickled")
        (model / "model.safetensors").rename(model / "pytorch_model.bin")
        self.expect_failure(bitdial("generate", model, "--prompt", "x"), EXIT_BAD_FILE, "pytorch_model.bin",
                            "safetensors")


if __name__ == "__main__":
    unittest.main(verbosity=2)
