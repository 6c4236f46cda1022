"""Hard strings for tokenizers, and a small text to train on. Written for this project; no outside text."""
import random

TRAINING_TEXT = """
The server reads a line, counts its tokens and answers. It doesn't guess: it's asked, it'll answer, they've waited.
A plane of bits is read once; each row stops at its own plane, and we're done. I'm sure you'd agree, wouldn't you?
In 1969 there were 12 months, 365 days and 8760 hours; 3.14159 is less than 22/7, and 2^10 = 1024.
for (int i = 0; i < count; ++i) { total += values[i]; }  // sums    with    spaces
def answer(question):\n\treturn {"text": question.strip(), "tokens": [1, 2, 3]}\r\n
Der Fluss trägt die Schiffe über die Brücke. Où est la gare? Здравствуй, мир! Как дела сегодня?
今天天气很好。東京は雨です。안녕하세요 세계. שלום עולם. مرحبا بالعالم. नमस्ते दुनिया. สวัสดีชาวโลก
THE SERVER READS. The Server Reads. the server reads the text that the reader wrote, then the writer reads it too.
"""

HAND_WRITTEN = [
    "", " ", "  ", "   ", "\n", "\n\n", "\n\n\n", "\t", "\t\t", "\r\n", "\r", "\r\n\r\n", " \n", "\n ", " \n ", "  \n  ",
    "a", " a", "a ", " a ", "  a", "   a", "a  ", "a   b", "a\n", "\na", "a\n\nb", "a \n b", "a\tb", "\ta", " \ta",
    "Hello world", " Hello world", "Hello  world", "Hello, world!", "Hello,world", "HELLO WORLD", "hello WORLD",
    "I'm you're he's we've they'll she'd it's don't", "I'M YOU'RE HE'S WE'VE THEY'LL SHE'D IT'S DON'T",
    "'s 't 're 've 'm 'll 'd", " 's", "''s", "'S", "'ſ", "x'ſ y", "’s", "rock'n'roll", "'", "''", "'''", "it's'", "'1",
    "1", "12", "123", "1234", "12345", "1234567890", "1 2 3", "1.5", "1,000,000", "3.14159e-10", "0x1F600", "a1b2c3",
    "٣٤٥", "१२३", "Ⅷ ½ ² ₃ ① ㊿ 𝟘𝟙", "２０２４年", "1\n2", "12 345", "v1.2.3-rc4", "#1", "$100", "50%", "1st 2nd 3rd",
    "!", "!!", "!!!", "?!", "...", "…", "—", "- - -", "---", "===", "***", "(a)", "[b]", "{c}", "<d>", "a/b\\c", "a_b", "__init__",
    "a.b.c", "user@example.com", "https://example.com/path?q=1&r=2#frag", "C++", "C#", "F#", "x+=1;", "i++", "a->b", "a::b",
    "if (x == 1) {\n    return \"yes\";\n}", "def f(x):\n\treturn x * 2\n", "    indented\n        more\n",
    "{\"key\": [1, 2.5, null, true], \"s\": \"a\\nb\"}", "<html><body class='x'>text</body></html>", "SELECT * FROM t WHERE a='b';",
    "#include <stdio.h>\nint main(void) { printf(\"%d\\n\", 1); }\n", "\\frac{a}{b} = \\sqrt{x^2 + y^2}", "`code` **bold** _it_",
    "Zażółć gęślą jaźń", "Größe Straße Übermut", "Où êtes-vous né? Ça va!", "¿Dónde está el niño?", "Привет, как дела?",
    "Γειά σου Κόσμε", "Çekoslovakyalılaştıramadıklarımızdan", "Tiếng Việt rất hay", "Cửa Việt", "你好,世界!", "今天天气很好。我们去公园吧。",
    "東京は日本の首都です。", "カタカナ ひらがな 漢字", "안녕하세요 세계", "한글과 漢字 그리고 English", "שלום עולם", "مرحبا بالعالم",
    "नमस्ते दुनिया", "สวัสดีชาวโลก", "កាន់តែពិសេសអាចខលចេញ", "ქართული ენა", "հայերեն", "አማርኛ", "தமிழ்", "বাংলা", "ᏣᎳᎩ", "ᚠᚢᚦ", "𐍈𐌰𐌹", "𠜎𠜱𡿺",
    "😀", " 😀", "😀😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "🚀 (normal) 😶‍🌫️ (joined) ✅", "☃️", "❤", "❤️", "a😀b", "1😀2",
    "é", "e\u0301", "ﬁ ﬂ", "Å Å", "ǅ", "İi ıI", "ß ẞ", "\u0130", "\u212a", "a\u0308\u0323", "\u200bzero\u200bwidth", "\ufeffbom", "soft\u00adhyphen",
    "nbsp\u00a0here", "\u00a0", " \u00a0 ", "em\u2003space", "\u2028", "a\u2028b\u2029c", "\u3000全角\u3000", "\u1680x", "\u180ex y", "a\u180eb", "\u0085", "a\u0085b", "\u202f", "\u205f",
    "\x00", "a\x00b", "\x01\x02\x03", "\x04\x05\x06\x07\x08", "\x0b\x0c", "\x1b[31mred\x1b[0m", "\x1c\x1d\x1e\x1f", "\x7f", "\x80\x9f", "a\x1cb",
    "\ufffd", "\ufffe", "\uffff", "\U0010ffff", "\ue000", "\U000f0000", "\u0378", "\ud7ff",
    "▁", "▁a", "a▁b", " ▁ ", "Ġ", "Ġa", "aĠb", "Ċ", "<0x0A>", "<0xFF>", "<unk>", "<s>", "</s>", "<pad>",
    "<|endoftext|>", "a<|endoftext|>b", "a <|endoftext|> b", "<|im_start|>user\nhi<|im_end|>\n", "<|im_start|>", "<|im_end|><|im_end|>",
    "<|im_start", "im_start|>", "<|im_start|", "<<|im_start|>>", "<|IM_START|>", "< |im_start| >", "<|im_start|>system\nA<|im_end|>\n<|im_start|>assistant\n",
    "<repo_name>", "<reponame>x", "<file_sep>a<filename>b", "<gh_stars>5", "<issue_start>", "<jupyter_code>print(1)<jupyter_output>1<empty_output>",
    "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>", "[INST] hi [/INST]", "<<SYS>>\nx\n<</SYS>>",
    "   lead", "trail   ", "a     b", "a          b", "\n\n\n\n\n\nx", "x\n\n\n\n\n\n", " \n \n \n ", "\t\t\tx", "x \t \n \t y", "  x  \n  y  ", " " * 17, " " * 100 + "x", "\n" * 50, " \n" * 20, "\t" * 33,
    "a" * 100, "ab" * 60, "aaaaab" * 20, "the" * 30, "1" * 100, "!" * 70, "é" * 50, "中" * 50, "😀" * 20, "the " * 40, "'s" * 20,
    "supercalifragilisticexpialidocious", "antidisestablishmentarianism", "Donaudampfschifffahrtsgesellschaftskapitän", "camelCaseWordsHere", "snake_case_words_here", "SCREAMING_CASE", "kebab-case-words",
    "The server reads a line, counts its tokens and answers.", "In 1969 there were 12 months, 365 days and 8760 hours.",
    "Q: What is 2+2?\nA: 4\n\nQ: And 3+3?\nA:", "1. First\n2. Second\n   - nested\n3. Third\n", "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "don’t “quote” ‘single’ «guillemets» „low“", "a–b—c", "x²+y³", "½+¼", "€5 £6 ¥7 ₿8", "™©®", "→←↑↓", "∀x∈ℝ: x²≥0", "α+β=γ", "♠♥♦♣", "░▒▓█", "┌─┐",
]


def random_texts(count, seed=20240917):
    """Mixtures of everything above, cut at random places between characters."""
    generator = random.Random(seed)
    pieces = [text for text in HAND_WRITTEN if text and len(text) < 60]
    for _ in range(count):
        text = "".join(generator.choice(pieces) + generator.choice(["", "", " ", "\n", "  "])
                       for _ in range(generator.randint(1, 8)))
        begin = generator.randrange(len(text))
        yield text[begin:begin + generator.randint(1, 120)]


def all_texts():
    return list(dict.fromkeys(HAND_WRITTEN + list(random_texts(120))))
