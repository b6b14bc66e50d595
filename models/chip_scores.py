"""How far drawn chips are from real ones, as sets: none of them shows the ground of another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Chips = npt.NDArray[np.float32]
"""[n, C, H, W], H = W, in any unit."""

_SHARES = np.linspace(0.005, 0.995, 199)
_LOOK_PX = 16  # sides of what is compared with all that was trained on


def compare_chips(drawn: Chips, real: Chips, spread: float) -> dict[str, float]:
    """Distances of two sets of chips, and how varied one is against the other.

    Parameters
    ----------
    drawn, real : array
        Need not be as many.
    spread : float
        What counts as one in both.

    Returns
    -------
    dict
        ``spectrum_db``, ``histogram`` (in spreads), and ``diversity`` where there are two of each.
    """
    scores = {
        "spectrum_db": spectrum_distance(drawn, real),
        "histogram": histogram_distance(drawn, real) / spread,
    }
    if min(len(drawn), len(real)) > 1 and (of_real := mean_distance(real)) > 0:
        scores["diversity"] = mean_distance(drawn) / of_real
    return scores


def spectrum_distance(drawn: Chips, real: Chips) -> float:
    """Mean over frequencies of the difference of log power, without sign, in dB."""
    ours, theirs = (10 * np.log10(radial_power(chips)) for chips in (drawn, real))
    return float(np.abs(ours - theirs).mean())


def radial_power(chips: Chips) -> npt.NDArray[np.float64]:
    """Mean power of all chips and bands by distance from the origin of the frequencies, [H // 2].

    Each chip without its mean, under a Hann window, so that its rim is no edge.
    """
    side = chips.shape[-1]
    stack = chips.astype(np.float64) - chips.mean(axis=(2, 3), keepdims=True, dtype=np.float64)
    window = np.sin((np.arange(side) + 0.5) * np.pi / side) ** 2
    power = np.abs(np.fft.fft2(stack * window[:, None] * window)) ** 2
    frequency = np.fft.fftfreq(side)
    ring = np.rint(np.hypot(frequency[:, None], frequency) * side).astype(int)
    mean = power.mean(axis=(0, 1))
    found = np.array([mean[ring == r].mean() for r in range(1, side // 2 + 1)])
    least = 1e-12 * max(float(found.max()), 1e-300)  # of chips without any, for the logarithm
    return np.asarray(np.maximum(found, least))


def histogram_distance(drawn: Chips, real: Chips) -> float:
    """Mean distance of quantiles (Wasserstein), bands apart, in the unit of the chips."""
    ours, theirs = (
        np.quantile(chips.swapaxes(0, 1).reshape(chips.shape[1], -1), _SHARES, axis=1)
        for chips in (drawn, real)
    )
    return float(np.abs(ours - theirs).mean())


def mean_distance(chips: Chips) -> float:
    """Mean RMS difference of two different chips; 0 when all are one."""
    count = len(chips)
    distances = distances_between(chips, chips)
    return float(distances[~np.eye(count, dtype=bool)].mean()) if count > 1 else 0.0


def largest_step(walk: Chips) -> float:
    """Largest RMS difference of neighbours on a walk, over the mean one: 1 for an even walk."""
    steps = np.sqrt(np.square(np.diff(walk.astype(np.float64), axis=0)).mean(axis=(1, 2, 3)))
    return float(steps.max() / steps.mean()) if steps.mean() > 0 else 1.0


def nearest_distances(chips: Chips, others: Chips, spread: float) -> npt.NDArray[np.float64]:
    """Distance of each chip to the nearest of others, turned and mirrored too, in spreads, [n].

    Chips learned by heart are far nearer to those that were learned from than chips of other
    ground are. Compared at about 16 x 16 pixels, where noise and small things do not hide it.

    Parameters
    ----------
    chips, others : array
    """
    mine, theirs = _reduced(chips), _reduced(others)
    nearest = np.full(len(chips), np.inf)
    for turned in (np.rot90(theirs, turns, axes=(2, 3)) for turns in range(4)):
        for seen in (turned, turned[..., ::-1]):
            nearest = np.minimum(nearest, distances_between(mine, seen).min(axis=1))
    return nearest / spread


def distances_between(first: Chips, second: Chips) -> npt.NDArray[np.float64]:
    """RMS difference of each of one set and each of another, [n, m]."""
    a, b = (chips.reshape(len(chips), -1).astype(np.float64) for chips in (first, second))
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squares, 0) / a.shape[1]))


def _reduced(chips: Chips) -> Chips:
    """Means over squares, so that few pixels are left."""
    n, bands, height, width = chips.shape
    factor = max(1, height // _LOOK_PX)
    rows, cols = height // factor, width // factor
    cut = chips[:, :, : rows * factor, : cols * factor]
    return np.asarray(cut.reshape(n, bands, rows, factor, cols, factor).mean(axis=(3, 5)))
