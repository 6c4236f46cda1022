"""Text in, token ids out: cleaning, our own byte-level BPE, and the two forms in which tokenizers lie on disk."""

import json
import pathlib
import re

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

DOCUMENT_END = "<|endoftext|>"
# Ids 0-3, as in OPT's files. </s> begins every text and ends every document, for both families.
SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>"]
BOS_ID = 2


def read_documents(paths):
    """A file ends a document too."""
    text = DOCUMENT_END.join(map(read_utf8, paths))
    return [cleaned for cleaned in map(clean, text.split(DOCUMENT_END)) if cleaned]


def read_utf8(path):
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SystemExit(f"{path}: byte {error.start} is not UTF-8; convert the file (iconv does)") from None


def clean(document):
    """Prose only: no Markdown headings, rules, emphasis or tables; one line a paragraph, one empty line between."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", document):
        lines = [line.strip() for line in paragraph.splitlines() if not re.match(r"\s*([#|>`~]|[-*_ ]{3,}$|!\[)", line)]
        paragraph = re.sub(r"[_*`]", "", re.sub(r"\s+", " ", " ".join(lines))).strip()
        if len(paragraph) > 1:
            paragraphs.append(paragraph)
    return "\n\n".join(paragraphs)


def train_tokenizer(documents, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(documents, trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL_TOKENS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    return tokenizer


def encode(tokenizer, documents):
    """-> (ids, uint16, every document ended by </s>; the positions at which paragraphs begin)."""
    ids = []
    for encoding in tokenizer.encode_batch(documents):
        ids.extend(encoding.ids)
        ids.append(BOS_ID)
    ids = np.array(ids, np.uint16)
    line_end = tokenizer.encode("\n").ids[-1]
    is_start = np.isin(ids[:-1], (line_end, BOS_ID)) & ~np.isin(ids[1:], (line_end, BOS_ID))
    return ids, np.concatenate(([0], np.flatnonzero(is_start) + 1))


def save_tokenizer_json(tokenizer, folder):
    """One tokenizer.json, as Llama 3 and its successors ship it."""
    bos = SPECIAL_TOKENS[BOS_ID]
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, BOS_ID)])
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": bos,
        "clean_up_tokenization_spaces": False})


def save_vocab_and_merges(tokenizer, folder):
    """vocab.json and merges.txt, as OPT ships them; the tokenizer class prepends </s>."""
    tokenizer.model.save(str(folder))
    bos = SPECIAL_TOKENS[BOS_ID]
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "GPT2Tokenizer", "bos_token": bos, "eos_token": bos, "pad_token": "<pad>",
        "unk_token": bos, "add_bos_token": True, "add_prefix_space": False, "errors": "replace"})


def write_json(path: pathlib.Path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")
