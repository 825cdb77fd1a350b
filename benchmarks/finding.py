"""Finding crystals in images and their shadows in defocused frames: the thesis's methods and credo's, same images."""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from benchmarks.finding_scenes import BeamFrame, Field, beam_frame, field_image, sample_of
from credo.collect.crystals import Crystal, find_by_threshold, find_crystals
from credo.collect.tracking import Expected, disc_by_sums, find_shadow, fit_disc, shadow_by_percentiles

__all__ = ["main"]


def main() -> int:
    """Tables on standard output."""
    options = argparse.ArgumentParser()
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--images", type=int, default=30, help="per seed and row")
    options.add_argument("--frames", type=int, default=100, help="per seed and row")
    given = options.parse_args()
    _finding(given.seeds, given.images)
    _tracking(given.seeds, given.frames)
    _times()
    return 0


def _say(*cells) -> None:
    sys.stdout.write("| " + " | ".join(str(c) for c in cells) + " |\n")
    sys.stdout.flush()


def _share(hits: int, n: int) -> str:
    """Share with Wilson's interval of 95 %."""
    if n == 0:
        return "-"
    p, z = hits / n, 1.96
    middle, half = (p + z * z / 2 / n), z * np.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    return f"{p:.3f} [{low:.3f}, {high:.3f}] of {n}"


def _matched(found: list[Crystal], field: Field) -> tuple[np.ndarray, np.ndarray]:
    """Which true particles have a centre found within their radius, and which finds lie on a particle."""
    xy = np.array([(c.x, c.y) for c in found]).reshape(-1, 2)
    apart = np.hypot(*(xy[:, None] - field.place[None]).transpose(2, 0, 1)) * field.pixel_um
    return (apart < field.radius).any(axis=0), (apart < field.reach).any(axis=1)


def _finding(seeds: int, images: int) -> None:
    _say(
        "counts", "contrast", "credo recall", "credo precision", "thesis recall", "thesis precision", "per seed, credo"
    )
    for counts, contrast in [(400, c) for c in (0.15, 0.06, 0.03)] + [(100, c) for c in (0.15, 0.06, 0.03)]:
        total, own = np.zeros((2, 4), dtype=int), []
        for seed in range(seeds):
            mine = np.zeros((2, 4), dtype=int)
            rng, sample = np.random.default_rng([seed, 5]), sample_of(seed, 0.02)
            for k in range(images):
                field = field_image(sample, rng.uniform(-12, 12, 2), contrast, counts, 1000 * seed + k)
                mine += _counted(field)
            total += mine
            own.append(f"{mine[0, 0] / max(mine[0, 1], 1):.2f}")
        shares = [_share(*total[m, 2 * q : 2 * q + 2]) for m in (0, 1) for q in (0, 1)]
        _say(counts, contrast, *shares, " ".join(own))
    blank = sum(
        len(find_crystals(field_image(sample_of(s, 0.02), np.zeros(2) + k % 9, 0, 400, 77 * s + k).image, 0.022))
        for s in range(seeds) for k in range(images)
    )  # fmt: skip
    _say("fields without crystals", seeds * images, "false finds", blank, "stated", round(0.1 * seeds * images, 2))


def _counted(field: Field) -> np.ndarray:
    """(credo, thesis) × (isolated crystals found, there; finds that are particles, finds)."""
    away = 1 / field.pixel_um
    inside = ((field.place > away) & (field.place < len(field.image) - away)).all(axis=1)
    wanted = inside & (field.gap > 1) & (field.radius >= 0.15)
    rows = []
    for method in (find_crystals, find_by_threshold):
        found = method(field.image, field.pixel_um)
        hit, true = _matched(found, field)
        rows.append((hit[wanted].sum(), wanted.sum(), true.sum(), len(found)))
    return np.array(rows)


def _tracking(seeds: int, frames: int) -> None:
    _say("counts", "contrast", "credo, expected", "credo, nothing expected", "thesis", "said seen (expected; nothing)",
         "rms (place − truth)/error")  # fmt: skip
    for counts in (200, 50, 20):
        for contrast in (0.5, 0.25, 0.1, 0.0):
            rows = np.array([
                _tracked(beam_frame(sample, contrast, counts, 1000 * seed + k), seed, k)
                for seed, sample in ((s, sample_of(s, 0.02)) for s in range(seeds)) for k in range(frames)
            ])  # fmt: skip
            n, hits = len(rows), rows[:, :3].sum(axis=0).astype(int)
            seen = " ; ".join(f"{v:.3f}" for v in rows[:, 3:5].mean(axis=0))
            right = rows[:, 0] > 0
            pull = f"{np.sqrt(np.mean(rows[right, 5]) / 2):.2f}" if right.any() and contrast else "-"
            shares = [_share(h, n) for h in hits] if contrast else ["-"] * 3
            _say(counts, contrast, *shares, seen, pull)


def _tracked(f: BeamFrame, seed: int, k: int) -> tuple[float, ...]:
    """Right (expected, nothing expected, thesis), seen (expected, nothing expected), ((place − truth)/error)²."""
    rng, near = np.random.default_rng([seed, k, 9]), 0.1 * f.radius
    sigma = 0.15 * f.radius
    guess = f.offset + rng.normal(0, sigma, 2)
    disc = fit_disc(f.frame)
    told = find_shadow(f.frame, disc, Expected((guess[0], guess[1]), sigma, f.size * rng.uniform(0.85, 1.15)))
    blind = find_shadow(f.frame, disc)
    old = shadow_by_percentiles(f.frame, disc_by_sums(f.frame))
    off = [float(np.hypot(*(np.array(o) - f.offset))) for o in (told.offset, blind.offset, old)]
    return (*(o < near for o in off), told.seen, blind.seen, (off[0] / told.error) ** 2)


def _times() -> None:
    """CPU milliseconds a call: the least of ten, the machine being shared."""
    sample = sample_of(0, 0.02)
    small = field_image(sample, np.zeros(2), 0.06, 400, 1)
    large = field_image(sample, np.zeros(2), 0.06, 100, 1, 2048, 0.006)
    f = beam_frame(sample, 0.25, 50, 3)
    disc = fit_disc(f.frame)
    expected = Expected((float(f.offset[0]), float(f.offset[1])), 0.15 * f.radius, f.size)
    for name, call in {
        "finding, 512²": lambda: find_crystals(small.image, 0.022),
        "finding, 2048²": lambda: find_crystals(large.image, 0.006),
        "finding, thesis, 512²": lambda: find_by_threshold(small.image, 0.022),
        "disc": lambda: fit_disc(f.frame),
        "shadow, expected": lambda: find_shadow(f.frame, disc, expected),
        "shadow, nothing expected": lambda: find_shadow(f.frame, disc),
        "disc and shadow, thesis": lambda: shadow_by_percentiles(f.frame, disc_by_sums(f.frame)),
    }.items():
        _say(name, f"{min(_cpu(call) for _ in range(10)):.1f} ms")


def _cpu(call) -> float:
    start = time.process_time()
    call()
    return 1e3 * (time.process_time() - start)
