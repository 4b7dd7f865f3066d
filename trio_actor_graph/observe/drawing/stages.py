"""Stages: how far along the direction of work something is, as the longest way that leads there.

Neither the waits nor the acts of creation of a graph need be free of cycles once they are history:
a task that needed one of two may have created what the other one then waited for. An edge that
leads back is left out of the count; everything stays linear in nodes and edges.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence


def longest_ways(number: int, edges: Iterable[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Give each of the nodes 0, 1, ... its stage, and an order in which nearly all edges lead on.

    Args:
        number: how many nodes there are.
        edges: pairs of (from, to). Where they form a cycle, it is begun at its smallest node.

    Returns:
        The stage of each node, and its place in the order.
    """
    after: list[list[int]] = [[] for _ in range(number)]
    missing = [0] * number
    for source, target in edges:
        if source != target:
            after[source].append(target)
            missing[target] += 1
    stages = [0] * number
    places = [-1] * number
    placed = 0
    ready = deque(node for node in range(number) if not missing[node])
    first_left = 0
    while placed < number:
        if not ready:  # only cycles, and what lies behind them, are left
            while places[first_left] >= 0:
                first_left += 1
            ready.append(first_left)
        node = ready.popleft()
        if places[node] >= 0:
            continue
        places[node] = placed
        placed += 1
        for target in after[node]:
            missing[target] -= 1
            if places[target] < 0:
                stages[target] = max(stages[target], stages[node] + 1)
                if not missing[target]:
                    ready.append(target)
    return stages, places


def layers_of(number: int, edges: Sequence[tuple[int, int]], pulled: Iterable[int]) -> list[int]:
    """Layers for a layout: like stages, but what nothing leads to stands next to what it leads to.

    So an input that is needed late is drawn late, and its edge is short.

    Args:
        number: how many nodes there are.
        edges: pairs of (from, to) that form no cycle.
        pulled: further nodes that are to stand next to what they lead to.
    """
    layers, places = longest_ways(number, edges)
    nearest = [number] * number
    is_pulled = [True] * number
    for _, target in edges:
        is_pulled[target] = False
    for node in pulled:
        is_pulled[node] = True
    after: list[list[int]] = [[] for _ in range(number)]
    for source, target in edges:
        after[source].append(target)
    for node in sorted(range(number), key=places.__getitem__, reverse=True):
        nearest[node] = min((layers[target] for target in after[node]), default=number)
        if is_pulled[node] and nearest[node] < number:
            layers[node] = nearest[node] - 1
    return layers
