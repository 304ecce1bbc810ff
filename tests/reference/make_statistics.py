"""Writes statistics.json: bootstrap intervals, adjusted p-values, ranks and rank correlations by
SciPy, and unit counts by a second generator.

Usage: python3 make_statistics.py        (needs numpy and scipy; a few seconds)

The columns of a data set are the arguments of its statistic below, in their order.
"""

import platform

import numpy as np
import scipy
from scipy.stats import bootstrap, false_discovery_control, kendalltau, rankdata, spearmanr

from reference_json import HERE, write_json

RESAMPLES = 200_000
BATCH = 10_000
DATA_SEED = 20240611
RESAMPLE_SEED = 7
RANK_SEED = 20240612
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


def adjusted(p_values):
    """None marks a hypothesis that was not tested, which SciPy does not know of."""
    tested = [p for p in p_values if p is not None]
    found = iter(false_discovery_control(tested, method="bh").tolist() if tested else [])
    return {
        "p_values": p_values,
        "benjamini_hochberg": [None if p is None else next(found) for p in p_values],
    }


def families():
    rng = np.random.default_rng(RANK_SEED)
    # The example of Benjamini & Hochberg 1995, of which four are rejected at 0.05.
    yield [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240,
           0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    yield np.round(rng.uniform(0, 1, 40) ** 3, 4).tolist()
    tied = np.round(rng.uniform(0, 0.2, 30), 2).tolist()
    for place in (0, 7, 29):
        tied[place] = None
    yield tied
    yield [0.2, 0.2, 0.2, 0.2]
    yield [0.0, 1.0, None, 0.03]
    yield [None, None]


def correlated(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return {
        "a": a.tolist(),
        "b": b.tolist(),
        "ranks_a": rankdata(-a).tolist(),
        "ranks_b": rankdata(-b).tolist(),
        "spearman": float(spearmanr(a, b).statistic),
        "kendall_tau_b": float(kendalltau(a, b, variant="b").statistic),
    }


def rankings():
    rng = np.random.default_rng(RANK_SEED + 1)
    a = np.round(rng.normal(0, 1, 30), 4)
    yield a, np.round(0.6 * a + rng.normal(0, 1, 30), 4)
    yield a, np.round(-a + rng.normal(0, 0.3, 30), 4)
    few = rng.integers(0, 5, 40)
    yield few, few + rng.integers(0, 4, 40)
    yield np.round(a, 0), rng.permutation(30)
    yield [1.0, 2.0], [5.0, 3.0]


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
        "families": [adjusted(p_values) for p_values in families()],
        "rankings": [correlated(*ranking) for ranking in rankings()],
    }
    write_json(HERE / "statistics.json", content)


if __name__ == "__main__":
    main()
