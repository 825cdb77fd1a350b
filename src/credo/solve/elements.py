"""Elements of the sites found: by composition and height, or by heights and distances alone."""

from __future__ import annotations

import numpy as np

from credo.solve.composition import light_and_heavy, strength

__all__ = ["assign_elements"]


def assign_elements(
    height: np.ndarray, multiplicity: np.ndarray, formula: dict[str, float], nearest: np.ndarray
) -> list[str]:
    """An element for each site. height, multiplicity (n,); ``nearest`` (n,): distance to the next atom [Å].

    With a formula: the assignment whose numbers come nearest to it and whose heights follow the scattering powers.
    Without: carbon, or, where heights fall into two classes and the high ones lie 1.5-1.8 Å of low ones, Si and O.
    """
    if not len(height):
        return []
    kinds = light_and_heavy(formula)
    if not kinds:
        return _without_formula(height, nearest)
    if len(kinds) == 1:
        return [kinds[0][0]] * len(height)
    return _by_composition(np.asarray(height, float), np.asarray(multiplicity, float), kinds)


def _without_formula(height: np.ndarray, nearest: np.ndarray) -> list[str]:
    split, ratio = _gap(height)
    if ratio < 1.5:
        return ["C"] * len(height)
    high = height >= split
    typical = float(np.median(nearest[high]))
    if 1.5 < typical < 1.75:
        return ["Si" if h else "O" for h in high]
    r = float(np.median(height[high]) / np.median(height[~high]))
    powers = {e: strength(e) / strength("O") for e in ("P", "S", "Ca", "Fe", "Br", "I")}
    heavy = min(powers, key=lambda e: abs(np.log(powers[e] / r)))
    return [heavy if h else "C" for h in high]


def _gap(height: np.ndarray) -> tuple[float, float]:
    """(the lowest height of the upper class, ratio of the two classes' medians): the widest gap in ln(height)."""
    h = np.sort(height)[::-1]
    if len(h) < 2:
        return float(h[0]), 1.0
    low = np.log(np.maximum(h, 1e-6 * h[0]))
    # the lowest tenth may be noise
    last = max(1, int(np.ceil(0.9 * len(h))) - 1)
    i = int(np.argmax(low[:last] - low[1 : last + 1]))
    return float(h[i]), float(np.median(h[: i + 1]) / np.median(h[i + 1 :]))


def _by_composition(height: np.ndarray, mult: np.ndarray, kinds: list[tuple[str, float]]) -> list[str]:
    """Greedy by falling height, then single changes and swaps as long as they lower the cost."""
    target = np.array([share for _, share in kinds])
    power = np.log([strength(e) for e, _ in kinds])
    order = np.argsort(-height)
    left = target * mult.sum()
    kind = np.zeros(len(height), dtype=int)
    for i in order:
        fits = np.flatnonzero(left >= 0.5 * mult[i])
        kind[i] = fits[0] if len(fits) else int(np.argmax(left))
        left[kind[i]] -= mult[i]
    logs = np.log(np.maximum(height, 1e-6 * height.max()))
    best = _cost(kind, logs, mult, target, power)
    for _ in range(4):
        before = best
        for i in range(len(kind)):
            for change in _changes(kind, i, len(kinds)):
                cost = _cost(change, logs, mult, target, power)
                if cost < best - 1e-9:
                    kind, best = change, cost
        if best == before:
            break
    return [kinds[k][0] for k in kind]


def _changes(kind: np.ndarray, i: int, n_kinds: int):
    for k in range(n_kinds):
        if k != kind[i]:
            one = kind.copy()
            one[i] = k
            yield one
    for j in np.flatnonzero(kind[i + 1 :] != kind[i]) + i + 1:
        two = kind.copy()
        two[[i, j]] = two[[j, i]]
        yield two


def _cost(kind: np.ndarray, logs: np.ndarray, mult: np.ndarray, target: np.ndarray, power: np.ndarray) -> float:
    """Misfit of ln(height) to ln(power) up to a constant, plus the numbers' deviation from the composition."""
    w = mult / mult.sum()
    residual = logs - power[kind]
    residual = residual - w @ residual
    have = np.bincount(kind, w, len(target))
    return float(w @ residual**2 / 0.09 + 8 * np.abs(have - target).sum())
