"""The two demo architectures in plain PyTorch, with Hugging Face's tensor names, so that state_dict() is the checkpoint.

LlamaForCausalLM: RMSNorm, rotary positions (halves rotated, as Hugging Face stores them), grouped-query attention,
SwiGLU. OPTForCausalLM: learned positions with an offset of 2, pre-LayerNorm, ReLU, biases. Both tie the head to the
embedding. Shapes: B batch, T tokens, H hidden size.
"""

import dataclasses
import math

import torch
from torch import nn
from torch.nn import functional as F


@dataclasses.dataclass(frozen=True)
class Shape:
    vocab_size: int  # rows of the embedding; the tokenizer may have fewer
    context: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int  # OPT has as many as heads
    ffn: int

    @property
    def head_dim(self):
        return self.hidden // self.heads


def causal_attention(q, k, v):
    """[B, heads, T, head_dim] each -> [B, T, H]. Written out: at these lengths PyTorch's fused one is slower on CPUs."""
    scores = (q @ k.transpose(-2, -1)).float() / math.sqrt(q.shape[-1])
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    weights = scores.masked_fill(future, float("-inf")).softmax(-1)
    return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)


def split_heads(x, heads):
    return x.unflatten(-1, (heads, x.shape[-1] // heads)).transpose(1, 2)


class RMSNorm(nn.Module):
    EPSILON = 1e-5

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        x = x.float()
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.EPSILON)


class LlamaAttention(nn.Module):
    ROPE_THETA = 10000.0

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        kv_width = shape.kv_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.k_proj = nn.Linear(shape.hidden, kv_width, bias=False)
        self.v_proj = nn.Linear(shape.hidden, kv_width, bias=False)
        self.o_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)
        frequencies = self.ROPE_THETA ** -(torch.arange(0, shape.head_dim, 2) / shape.head_dim)
        angles = torch.outer(torch.arange(shape.context), frequencies).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def rotate(self, x):
        low, high = x.chunk(2, dim=-1)
        tokens = x.shape[-2]
        return x * self.cos[:tokens] + torch.cat((-high, low), dim=-1) * self.sin[:tokens]

    def forward(self, x):
        shape = self.shape
        q = self.rotate(split_heads(self.q_proj(x), shape.heads))
        k = self.rotate(split_heads(self.k_proj(x), shape.kv_heads))
        v = split_heads(self.v_proj(x), shape.kv_heads)
        group = shape.heads // shape.kv_heads
        k, v = (t.repeat_interleave(group, dim=1) for t in (k, v))
        return self.o_proj(causal_attention(q.to(v.dtype), k.to(v.dtype), v))


class LlamaMlp(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.ffn, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.ffn, bias=False)
        self.down_proj = nn.Linear(shape.ffn, shape.hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaLayer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.input_layernorm = RMSNorm(shape.hidden)
        self.self_attn = LlamaAttention(shape)
        self.post_attention_layernorm = RMSNorm(shape.hidden)
        self.mlp = LlamaMlp(shape)

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaModel(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden)
        self.layers = nn.ModuleList(LlamaLayer(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.hidden)

    def forward(self, ids):
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class OptAttention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.heads = shape.heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Linear(shape.hidden, shape.hidden) for _ in range(4))

    def forward(self, x):
        q, k, v = (split_heads(project(x), self.heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(causal_attention(q, k, v))


class OptLayer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.self_attn_layer_norm = nn.LayerNorm(shape.hidden)
        self.self_attn = OptAttention(shape)
        self.final_layer_norm = nn.LayerNorm(shape.hidden)
        self.fc1 = nn.Linear(shape.hidden, shape.ffn)
        self.fc2 = nn.Linear(shape.ffn, shape.hidden)

    def forward(self, x):
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(F.relu(self.fc1(self.final_layer_norm(x))))


class OptDecoder(nn.Module):
    POSITION_OFFSET = 2  # rows 0 and 1 are never used; OPT's files have them

    def __init__(self, shape):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden)
        self.embed_positions = nn.Embedding(shape.context + self.POSITION_OFFSET, shape.hidden)
        self.layers = nn.ModuleList(OptLayer(shape) for _ in range(shape.layers))
        self.final_layer_norm = nn.LayerNorm(shape.hidden)

    def forward(self, ids):
        positions = torch.arange(ids.shape[1], device=ids.device) + self.POSITION_OFFSET
        x = self.embed_tokens(ids) + self.embed_positions(positions)
        for layer in self.layers:
            x = layer(x)
        return self.final_layer_norm(x)


@torch.no_grad()
def start_positions(table, std):
    """Learned, but starting as sinusoids: near positions look alike from the first step, which noise takes long to find."""
    rows, width = table.shape
    frequencies = 10000.0 ** -(torch.arange(0, width, 2) / width)
    angles = torch.outer(torch.arange(rows), frequencies)
    table.copy_(torch.cat((angles.sin(), angles.cos()), dim=1) * std * math.sqrt(2))


class OptModel(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.decoder = OptDecoder(shape)

    @property
    def embed_tokens(self):
        return self.decoder.embed_tokens

    def forward(self, ids):
        return self.decoder(ids)


class CausalLm(nn.Module):
    """ids [B, T] -> logits [B, T, vocab_size]."""

    INIT_STD = 0.02

    def __init__(self, backbone, shape):
        super().__init__()
        self.shape = shape
        self.model = backbone
        residual_std = self.INIT_STD / math.sqrt(2 * shape.layers)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                into_residual = name.endswith(("o_proj.weight", "out_proj.weight", "down_proj.weight", "fc2.weight"))
                nn.init.normal_(weight, std=residual_std if into_residual else self.INIT_STD)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)
        if isinstance(backbone, OptModel):
            start_positions(backbone.decoder.embed_positions.weight, self.INIT_STD)

    def forward(self, ids):
        return F.linear(self.model(ids), self.model.embed_tokens.weight)


def llama(shape):
    return CausalLm(LlamaModel(shape), shape)


def opt(shape):
    return CausalLm(OptModel(shape), shape)


def llama_config(shape, bos_id):
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float16",
        "vocab_size": shape.vocab_size, "max_position_embeddings": shape.context, "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.ffn, "hidden_act": "silu", "rms_norm_eps": RMSNorm.EPSILON,
        "rope_theta": LlamaAttention.ROPE_THETA, "tie_word_embeddings": True, "attention_bias": False,
        "mlp_bias": False, "bos_token_id": bos_id, "eos_token_id": bos_id,
    }


def opt_config(shape, bos_id):
    return {
        "architectures": ["OPTForCausalLM"], "model_type": "opt", "torch_dtype": "float16",
        "vocab_size": shape.vocab_size, "max_position_embeddings": shape.context, "hidden_size": shape.hidden,
        "word_embed_proj_dim": shape.hidden, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "ffn_dim": shape.ffn, "activation_function": "relu", "do_layer_norm_before": True, "enable_bias": True,
        "layer_norm_elementwise_affine": True, "_remove_final_layer_norm": False, "tie_word_embeddings": True,
        "bos_token_id": bos_id, "eos_token_id": bos_id, "pad_token_id": 1,
    }
