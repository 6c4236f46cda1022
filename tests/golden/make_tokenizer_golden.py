#!/usr/bin/env python3
"""Golden vectors for tokenizers, from the reference libraries.

    make_tokenizer_golden.py --out FOLDER [--smollm2 SmolLM2-135M-Instruct.Q4_1.gguf]

Needs tokenizers, transformers and sentencepiece; for --smollm2 also gguf. Made with tokenizers 0.23 and transformers 5.23.

FOLDER/<flavour>/tokenizer.json   byte-level BPE of 700 tokens trained here on text of our own, for the GPT-2, Llama 3,
                                  Qwen 2 and SmolLM2 pre-tokenizers; also with add_prefix_space, lstrip and rstrip
FOLDER/<flavour>/vectors.json     {"texts": [{text, ids, plain_ids}], "decodes": [{ids, text}]}
FOLDER/opt/{vocab.json, merges.txt, tokenizer_config.json, special_tokens_map.json}
                                  the GPT-2 flavour in the form of the OPT models: fairseq's four tokens first, BOS is </s>;
                                  vectors by transformers' GPT2Tokenizer
FOLDER/spm_<kind>/tokenizer.model SentencePiece models of 400 pieces trained on the same text: bpe (byte fallback, no
                                  normalization, as Llama 2) and unigram (rules of its own, white space collapsed)
FOLDER/spm_<kind>/vectors.json    the same; ids of plain text only
FOLDER/smollm2/vectors.json       the same for the real model, whose file is not here
ids: special tokens in the text become their ids. plain_ids: they do not. decodes: random ids, special ones skipped.
"""
import argparse
import json
import pathlib
import random

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from tokenizer_texts import TRAINING_TEXT, all_texts

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")


def byte_level(**options):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, "use_regex": True, **options})


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level(use_regex=False)])


def special(text, **options):
    return AddedToken(text, special=True, normalized=False, **options)


FLAVOURS = {
    "gpt2": (byte_level(), [special("<|endoftext|>")], {}),
    "llama3": (split(LLAMA3), [special(t) for t in ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")],
               {"ignore_merges": True}),
    "qwen2": (split(QWEN2), [special(t) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")], {}),
    "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()]),
               [special(t) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")], {}),
    # What few models use: a space put first, tokens that take white space with them, added tokens that are not special.
    "strips": (byte_level(add_prefix_space=True),
               [special("<|endoftext|>", lstrip=True), special("<|im_end|>", rstrip=True),
                AddedToken("<file_sep>", special=False, normalized=False), AddedToken("server reads", special=False, normalized=True)],
               {}),
}


def train(flavour):
    pre_tokenizer, added, model_options = FLAVOURS[flavour]
    tokenizer = Tokenizer(models.BPE(**model_options))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(TRAINING_TEXT.split("\n"), trainer)
    for token in added:
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    if flavour == "llama3":
        bos = tokenizer.token_to_id("<|begin_of_text|>")
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", bos)])])
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def write_opt(folder):
    model = json.loads(train("gpt2").to_str())["model"]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *sorted(model["vocab"], key=model["vocab"].get), "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocab = {token: i for i, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False, separators=(",", ":")) + "\n")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in model["merges"]))
    named = {f"{name}_token": {"content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
             for name, text in (("bos", "</s>"), ("eos", "</s>"), ("pad", "<pad>"), ("unk", "</s>"))}
    config = {"add_bos_token": True, "add_prefix_space": False, "errors": "replace", "tokenizer_class": "GPT2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, **named}, indent=1) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(named, indent=1) + "\n")
    from transformers import GPT2Tokenizer
    return GPT2Tokenizer.from_pretrained(folder).backend_tokenizer


def vectors(tokenizer):
    texts = []
    for text in all_texts():
        tokenizer.encode_special_tokens = False
        ids = tokenizer.encode(text).ids
        tokenizer.encode_special_tokens = True
        texts.append({"text": text, "ids": ids, "plain_ids": tokenizer.encode(text).ids})
    generator = random.Random(7)
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    decodes = []
    for _ in range(200):
        # Low ids are single bytes: mostly broken UTF-8.
        ids = [generator.randrange(generator.choice([256, size])) for _ in range(generator.randint(1, 40))]
        decodes.append({"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=True)})
    return {"made_with": f"tokenizers {tokenizers.__version__}", "texts": texts, "decodes": decodes}


SENTENCEPIECE = {
    "spm_bpe": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity",
                "remove_extra_whitespaces": False, "user_defined_symbols": ["<sep>"]},
    # No byte fallback: what the model has never seen is unknown. The rules: A -> a, fi ligature -> fi, "..." for its sign.
    "spm_unigram": {"model_type": "unigram", "user_defined_symbols": ["<sep>", "<cls>"], "control_symbols": ["<ctl>"]},
}


def train_sentencepiece(kind, folder):
    folder.mkdir(parents=True, exist_ok=True)
    text, rules, prefix = folder / "text.txt", folder / "rules.tsv", folder / "tokenizer"
    text.write_text(TRAINING_TEXT)
    options = dict(SENTENCEPIECE[kind])
    if kind == "spm_unigram":
        rules.write_text("41\t61\nFB01\t66 69\n2026\t2E 2E 2E\n3000\t20\nA0\t20\n9\t20\n")
        options["normalization_rule_tsv"] = str(rules)
    vocab_size = 700 if kind == "spm_bpe" else 400
    sentencepiece.SentencePieceTrainer.train(input=str(text), model_prefix=str(prefix), vocab_size=vocab_size,
                                             character_coverage=1.0, hard_vocab_limit=False, num_threads=1, **options)
    for path in (text, rules, prefix.with_suffix(".vocab")):
        path.unlink(missing_ok=True)
    return sentencepiece.SentencePieceProcessor(model_file=str(prefix.with_suffix(".model")))


def sentencepiece_vectors(processor):
    texts = [{"text": text, "ids": processor.encode(text)} for text in all_texts()]
    generator, decodes = random.Random(7), []
    size = processor.get_piece_size()
    for _ in range(300):
        ids = [generator.randrange(min(size, generator.choice([270, size]))) for _ in range(generator.randint(1, 40))]
        decodes.append({"ids": ids, "text": processor.decode(ids)})
    return {"made_with": f"sentencepiece {sentencepiece.__version__}", "texts": texts, "decodes": decodes}


def write_model(folder, tokenizer):
    folder.mkdir(parents=True, exist_ok=True)
    model = json.loads(tokenizer.to_str())
    (folder / "tokenizer.json").write_text(json.dumps(model, ensure_ascii=False, separators=(",", ":")) + "\n")


def write_vectors(folder, result):
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["{", f'"made_with": {json.dumps(result["made_with"])},']
    for key, comma in (("texts", ","), ("decodes", "")):
        entries = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in result[key])
        lines += [f'"{key}": [', entries, "]" + comma]
    (folder / "vectors.json").write_text("\n".join(lines + ["}"]) + "\n")
    print(folder, len(result["texts"]), "texts", len(result["decodes"]), "decodes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--smollm2", type=pathlib.Path)
    arguments = parser.parse_args()
    for flavour in FLAVOURS:
        tokenizer = train(flavour)
        write_model(arguments.out / flavour, tokenizer)
        write_vectors(arguments.out / flavour, vectors(tokenizer))
    write_vectors(arguments.out / "opt", vectors(write_opt(arguments.out / "opt")))
    for kind in SENTENCEPIECE:
        processor = train_sentencepiece(kind, arguments.out / kind)
        write_vectors(arguments.out / kind, sentencepiece_vectors(processor))
    if arguments.smollm2:
        from transformers import AutoTokenizer
        path = arguments.smollm2
        reference = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).backend_tokenizer
        # transformers' GGUF loader does not read tokenizer.ggml.pre: it leaves GPT-2's pre-tokenizer. SmolLM2's own
        # tokenizer.json has single digits before it.
        reference.pre_tokenizer = FLAVOURS["smollm"][0]
        write_vectors(arguments.out / "smollm2", vectors(reference))


if __name__ == "__main__":
    main()
