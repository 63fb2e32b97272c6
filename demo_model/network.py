"""A Llama network in PyTorch.

It has RMSNorm, rotary positions, grouped-query attention, SwiGLU and tied embeddings.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """The sizes of a network. All widths are multiples of 32, the block of q8_0."""

    vocabulary: int = 2048
    context: int = 4096
    width: int = 192
    layers: int = 4
    heads: int = 6
    kv_heads: int = 2
    inner: int = 512
    # A head has 32 dimensions, so the longest wavelength is about 35,000 positions: far more than
    # the context.
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-5

    @property
    def head(self) -> int:
        """Return the number of dimensions of one head."""
        return self.width // self.heads


class Norm(nn.Module):
    """RMSNorm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.width))
        self.epsilon = shape.norm_epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., width) to (..., width)."""
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self.epsilon)


class Layer(nn.Module):
    """One block: attention, then the inner network, each with a residual."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv = shape.kv_heads * shape.head
        self.attn_norm, self.ffn_norm = Norm(shape), Norm(shape)
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, kv, bias=False)
        self.attn_v = nn.Linear(shape.width, kv, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_gate = nn.Linear(shape.width, shape.inner, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.inner, bias=False)
        self.ffn_down = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Map (batch, time, width) to the same shape.

        Without a mask, each token attends to itself and to all tokens before it.
        """
        shape, (batch, time, _) = self.shape, x.shape
        h = self.attn_norm(x)
        q = self.attn_q(h).view(batch, time, shape.heads, shape.head).transpose(1, 2)
        k = self.attn_k(h).view(batch, time, shape.kv_heads, shape.head).transpose(1, 2)
        v = self.attn_v(h).view(batch, time, shape.kv_heads, shape.head).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        groups = shape.heads // shape.kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        attended = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None
        )
        x = x + self.attn_output(attended.transpose(1, 2).reshape(batch, time, shape.width))
        h = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(h)) * self.ffn_up(h))


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Apply rotary positions to the two halves of each head; return the shape of `x`.

    llama.cpp rotates neighbouring rows instead, so `export` reorders them.
    """
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Network(nn.Module):
    """Maps token ids to hidden states or logits."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape)
        frequency = shape.rope_theta ** (-torch.arange(0, shape.head, 2) / shape.head)
        angle = torch.outer(torch.arange(shape.context), frequency)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                last = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(
                    parameter,
                    std=0.02 / (2 * shape.layers) ** 0.5
                    if last
                    else 0.02
                    if "embd" in name
                    else 0.05,
                )

    def hidden(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Map token ids (batch, time) to hidden states (batch, time, width).

        `mask` (batch, 1, time, time) is true where a token attends to another one.
        """
        time = ids.shape[1]
        x = self.token_embd(ids)
        for layer in self.layers:
            x = layer(x, self.cos[:time], self.sin[:time], mask)
        return self.output_norm(x)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map (..., width) to (..., vocabulary). The output weights are the embeddings."""
        return functional.linear(hidden, self.token_embd.weight)
