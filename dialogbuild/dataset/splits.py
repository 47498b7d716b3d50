"""Splits that cannot leak: whole connected components of persons, conversations and source files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

SALT = "dialogbuild-split-1"  # fixed for ever: another salt would move published clips between splits
TRAIN, VAL = 0.8, 0.9  # upper bounds of the hash value; the rest is test


def components(links: Iterable[tuple[str, ...]]) -> dict[str, str]:
    """Node -> the smallest node of its connected component. Each tuple links all its members."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for group in links:
        for node in group:
            a, b = sorted((root(group[0]), root(node)))
            parent[b] = a
    return {node: root(node) for node in sorted(parent)}


def _unit(name: str) -> float:
    """A number in [0, 1) that depends on the name and the salt alone."""
    return int(hashlib.sha256(f"{SALT}:{name}".encode()).hexdigest()[:13], 16) / 16**13


def assign_splits(links: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Conversation -> train, val or test.

    Args:
        links: conversation id -> everything that it must stay together with (identities, source file hash).

    Two conversations that share a link always get the same split. A component's split depends on its smallest
    link alone, so new data moves nothing unless it joins components. The component with the smallest hash is
    always train: a dataset of one video can be trained on.
    """
    # "id:" sorts before "talk:", so a component is named by a link: one clip more or less of a video moves nothing
    named = {f"talk:{c}": tuple(f"id:{name}" for name in others) for c, others in links.items()}
    group = components((c, *others) for c, others in named.items())
    first = min(set(group.values()), key=_unit, default="")

    def split(name: str) -> str:
        u = _unit(name)
        return "train" if u < TRAIN or name == first else "val" if u < VAL else "test"

    return {c: split(group[f"talk:{c}"]) for c in sorted(links)}
