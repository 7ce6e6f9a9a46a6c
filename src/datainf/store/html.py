"""A gradient store in a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from datainf import words

if TYPE_CHECKING:
    from datainf.store.gradient_store import GradientStore

SHOWN = 12
"""Tensors."""


def store_html(store: GradientStore) -> str:
    """Where it is, how much it holds, and its first tensors with the mean norms of their rows."""
    index = store.index
    read = [row for row in range(len(store)) if row not in store.skipped]
    norms = store.sq_norms[read].sqrt().mean(dim=0) if read else [0.0] * len(index.blocks)
    skipped = f" ({len(store.skipped):,} skipped)" if store.skipped else ""
    rows = "".join(
        f"<tr><td>{escape(block.name)}</td><td>{' × '.join(map(str, block.shape))}</td>"
        f"<td>{float(norm):.3g}</td></tr>"
        for block, norm in zip(index.blocks[:SHOWN], norms[:SHOWN], strict=True)
    )
    left = len(index.blocks) - SHOWN
    more = f"<p>and {words.count(left, 'more tensor')}</p>" if left > 0 else ""
    size = words.size(sum(shard.bytes for shard in index.shards))
    parameters = words.count(sum(block.width for block in index.blocks), "parameter")
    return (
        f"<div><p><b>GradientStore</b> <code>{escape(str(store.path))}</code><br>"
        f"<small>{words.count(len(store), 'example')}{skipped}, {parameters} in "
        f"{words.count(len(index.blocks), 'tensor')}, {escape(index.dtype)}, {size}</small></p>"
        f"<table><thead><tr><th>tensor</th><th>shape</th><th>mean ‖g‖</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{more}</div>"
    )
