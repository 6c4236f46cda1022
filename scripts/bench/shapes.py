"""The named shapes of `bitdial bench engine --shape`, and what a token reads of them."""
import typing


class Shape(typing.NamedTuple):
    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    vocab: int
    positions: int

    @property
    def kv(self):
        return self.hidden // self.heads * self.kv_heads

    def linears(self):
        """(out, in) of every linear of one layer."""
        return [(self.hidden, self.hidden), (self.kv, self.hidden), (self.kv, self.hidden), (self.hidden, self.hidden),
                (self.ffn, self.hidden), (self.ffn, self.hidden), (self.hidden, self.ffn)]

    def bytes_a_token(self, bits, head_bits=8, group=128):
        """Of Bitdial: codes, alpha and beta of every linear and of the head."""
        def of(out, columns, b):
            return out * columns * b / 8 + out * columns / group * 2 * (b + 1)
        return self.layers * sum(of(o, i, bits) for o, i in self.linears()) + of(self.vocab, self.hidden, head_bits)


SHAPES = {
    "llama-1.1b": Shape(22, 2048, 5632, 32, 4, 32000, 2048),
    "llama-8b": Shape(32, 4096, 14336, 32, 8, 32000, 8192),
}


def parse(text):
    """"llama-8b:8" is the shape with its first 8 layers."""
    name, _, layers = text.partition(":")
    if name not in SHAPES:
        raise SystemExit(f"shape \"{name}\" is unknown; there are: {', '.join(SHAPES)}")
    shape = SHAPES[name]
    return shape._replace(layers=int(layers)) if layers else shape
