"""Splits that cannot leak: whole connected components of persons, conversations and source files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from dialogbuild.dataset.schema import SPLITS

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


def assign_splits(links: Mapping[str, tuple[str, ...]], previous: Mapping[str, str] | None = None) -> dict[str, str]:
    """Conversation -> train, val or test.

    Args:
        links: conversation id -> everything that it must stay together with (identities, source file hash).
        previous: conversation id -> the split that it had; may name others too.

    Two conversations that share a link always get the same split. The rule, per component of linked conversations:

    1. One that had a split keeps it. Where new data joins components of different splits, all of it goes to the first
       of train, val, test that is among them: what somebody may have trained on is never tested on. Only such a join
       moves anything; ``moved`` names it.
    2. A new component goes where the hash of its smallest link, with the fixed salt, sends it.
    3. When nothing would be train, the new component with the smallest hash is: one video can be trained on.
    """
    # "id:" sorts before "talk:", so a component is named by a link: one clip more or less of a video moves nothing
    before = previous or {}
    group = components((f"talk:{c}", *(f"id:{name}" for name in others)) for c, others in links.items())
    kept: dict[str, str] = {}
    for c in links:
        if c in before:
            root = group[f"talk:{c}"]
            kept[root] = min(before[c], kept.get(root, before[c]), key=SPLITS.index)
    new = sorted(set(group.values()) - kept.keys(), key=_unit)
    for root in new:
        u = _unit(root)
        kept[root] = "train" if u < TRAIN else "val" if u < VAL else "test"
    if new and "train" not in kept.values():
        kept[new[0]] = "train"
    return {c: kept[group[f"talk:{c}"]] for c in sorted(links)}


def moved(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Conversations whose split changed: (before, now)."""
    return {c: (before[c], now[c]) for c in sorted(before.keys() & now.keys()) if before[c] != now[c]}
