"""A table of 2,000 invented customers: 12 columns of mixed kinds, a tenth of the cells empty.

python -m examples.customers customers.csv
"""

import csv
import sys
from pathlib import Path

import numpy as np

_MISSING = 0.1


def columns(num, rng):
    """Return the columns by name: most depend on wealth and activity, which are not among them."""
    wealth, activity = rng.normal(size=(2, num))
    age = np.clip(rng.gamma(9, 5, num), 18, 95)
    regions = np.array(["east", "north", "south", "west"])
    plans = np.array(["basic", "plus", "premium"])
    pull = np.stack([0 * age, wealth, age / 40, activity])
    region = np.argmax(pull + rng.gumbel(size=(4, num)), 0)
    plan = np.digitize(wealth + 0.5 * rng.normal(size=num), [0.2, 1.2])
    visits = rng.poisson(np.exp(1.5 + 0.8 * activity))
    purchases = rng.negative_binomial(2, 2 / (2 + 0.3 * visits + 0.2 * plan + 0.05))
    income = np.exp(10.3 + 0.4 * wealth + 0.005 * (age - 45) + 0.15 * rng.normal(size=num))
    spent = np.exp(2 + 0.5 * wealth + 0.4 * activity + 0.3 * rng.normal(size=num))
    balance = 400 * wealth - 150 * activity + 120 * rng.normal(size=num)
    height = 172 + 8 * rng.normal(size=num)
    member = wealth + activity + rng.logistic(size=num) > 0.5
    letters = activity + 0.5 * rng.logistic(size=num) > 0
    rating = 3 + 0.8 * activity + 0.4 * rng.normal(size=num)
    return {
        "age": np.round(age).astype(int),
        "height": np.round(height, 1),
        "income": np.round(income, 2),
        "balance": np.round(balance, 2),
        "spent": np.round(spent, 2),
        "rating": np.round(np.clip(rating, 0, 6), 2),
        "visits": visits,
        "purchases": purchases,
        "member": np.where(member, "yes", "no"),
        "newsletter": letters.astype(int),
        "region": regions[region],
        "plan": plans[plan],
    }


def write(path, num=2000, seed=0):
    """Write the table with cells missing completely at random."""
    rng = np.random.default_rng(seed)
    cells = columns(num, rng)
    missing = rng.random((num, len(cells))) < _MISSING
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(cells)
        for row, holes in zip(zip(*cells.values(), strict=True), missing, strict=True):
            writer.writerow(["" if hole else cell for cell, hole in zip(row, holes, strict=True)])


if __name__ == "__main__":
    write(Path(sys.argv[1]) if sys.argv[1:] else Path("customers.csv"))
