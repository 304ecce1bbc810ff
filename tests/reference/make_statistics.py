"""Writes statistics.json: bootstrap intervals by SciPy, and unit counts by a second generator.

Usage: python3 make_statistics.py        (needs numpy and scipy; a few seconds)

The columns of a data set are the arguments of its statistic below, in their order.
"""

import platform

import numpy as np
import scipy
from scipy.stats import bootstrap

from reference_json import HERE, write_json

RESAMPLES = 200_000
BATCH = 10_000
DATA_SEED = 20240611
RESAMPLE_SEED = 7
WORD = (1 << 64) - 1


def mean(x, axis=-1):
    return np.mean(x, axis=axis)


def ratio(a, b, axis=-1):
    return np.sum(a, axis=axis) / np.sum(b, axis=axis)


def log_ratio_of_ratios(a, b, c, d, axis=-1):
    return np.log(ratio(a, b, axis) / ratio(c, d, axis))


def data_sets():
    rng = np.random.default_rng(DATA_SEED)
    yield "mean", mean, [rng.normal(3.0, 2.0, 40)]

    size = rng.lognormal(3.0, 0.6, 60)
    yield "ratio", ratio, [size * rng.lognormal(0.0, 1.0, 60), size]

    length = rng.lognormal(3.0, 0.4, 50)
    hard = rng.lognormal(0.0, 0.9, 50)
    yield "log_ratio_of_ratios", log_ratio_of_ratios, [
        length * hard * rng.lognormal(0.5, 0.6, 50),
        length,
        length * hard,
        length * rng.lognormal(0.0, 0.2, 50),
    ]


def interval(columns, statistic, method):
    found = bootstrap(
        columns,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=BATCH,
        confidence_level=0.95,
        method=method,
        rng=np.random.default_rng(RESAMPLE_SEED),
    ).confidence_interval
    return [float(found.low), float(found.high)]


def reference(name, statistic, columns):
    columns = [np.round(column, 4) for column in columns]
    return {
        "statistic": name,
        "units": len(columns[0]),
        "columns": [column.tolist() for column in columns],
        "value": float(statistic(*columns)),
        "percentile": interval(columns, statistic, "percentile"),
        "bca": interval(columns, statistic, "BCa"),
    }


def rotl(x, k):
    return ((x << k) | (x >> (64 - k))) & WORD


def splitmix64(state):
    while True:
        state = (state + 0x9E3779B97F4A7C15) & WORD
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
        yield z ^ (z >> 31)


def xoshiro256starstar(seed):
    words = splitmix64(seed)
    s = [next(words) for _ in range(4)]
    while True:
        yield (rotl((s[1] * 5) & WORD, 7) * 9) & WORD
        t = (s[1] << 17) & WORD
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 45)


def below(words, bound):
    """Lemire's draw written as he proves it: reject low products under 2**32 mod bound."""
    while True:
        product = (next(words) >> 32) * bound
        if product % (1 << 32) >= (1 << 32) % bound:
            return product >> 32


def unit_counts(seed, units, draws):
    words = xoshiro256starstar(seed)
    counts = []
    for _ in range(draws):
        ids = [below(words, units) for _ in range(units)]
        counts.append([ids.count(unit) for unit in range(units)])
    return {"seed": seed, "units": units, "draws": draws, "counts": counts}


def main():
    content = {
        "made_by": "tests/reference/make_statistics.py",
        "versions": {
            "numpy": np.__version__,
            "python": platform.python_version(),
            "scipy": scipy.__version__,
        },
        "resamples": RESAMPLES,
        "confidence": 0.95,
        "data_sets": [reference(*data_set) for data_set in data_sets()],
        "unit_counts": unit_counts(seed=1234567, units=11, draws=5),
    }
    write_json(HERE / "statistics.json", content)


if __name__ == "__main__":
    main()
