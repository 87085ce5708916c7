"""Linear probes and neighbours that predict classes from the codes of a few labelled examples."""

import math
import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from vae_jax.errors import UserError
from vae_jax.evaluation import neighbours

NUM_NEIGHBOURS = 5

# Factors of the penalty on the squared weights of a probe, in nats per example; of two that do
# equally well the larger is taken.
PENALTIES = tuple(10.0**power for power in range(0, -6, -1))

# A penalty is chosen on one in this many labelled examples.
_HELD_OUT = 5
_MOST_ITERATIONS = 500

Codes = Float[np.ndarray, "_ codes"]
Labels = Int[np.ndarray, " _"]
# Codes before `check`.
AnyCodes = Float[np.ndarray, "..."]


def check(codes: AnyCodes, labels: Labels, test_codes: AnyCodes, test_labels: Labels) -> None:
    """Refuse codes and labels that a probe cannot use.

    Raises:
      UserError: no examples, codes that are not finite or of two sizes, another number of labels,
        or one class only.
    """
    for name, found, classes in (
        ("training", codes, labels),
        ("test", test_codes, test_labels),
    ):
        if found.ndim != 2 or len(found) == 0:
            raise UserError(
                f"the {name} codes have shape {list(found.shape)}; they must be [examples, codes] "
                "with at least one example"
            )
        if len(classes) != len(found):
            raise UserError(
                f"{len(classes)} {name} labels do not fit {len(found)} {name} codes; one is needed "
                "for each"
            )
        bad = np.count_nonzero(~np.isfinite(found).all(axis=1))
        if bad:
            raise UserError(f"{bad} of the {len(found)} {name} codes are not finite")
    if codes.shape[1] != test_codes.shape[1]:
        raise UserError(
            f"the training codes have {codes.shape[1]} numbers each and the test codes "
            f"{test_codes.shape[1]}; they must have equally many"
        )
    classes = np.unique(labels)
    if len(classes) < 2:
        raise UserError(f"all labels are {classes[0]}; a probe needs at least two classes")


def draw_labelled(
    labels: Labels, num_labels: int, rng: np.random.Generator
) -> Int[np.ndarray, " num_labels"]:
    """Return the indices of labelled examples, equally many per class, as in Kingma et al. 2014.

    Where the number of classes does not divide `num_labels`, some classes, drawn at random, have
    one more (arXiv 1406.5298, section 4, has 100, 600, 1000 and 3000 labels in ten classes).

    Raises:
      UserError: there are fewer than two labels per class, or too few examples of a class.
    """
    if num_labels == len(labels):
        return np.arange(len(labels))
    classes = np.unique(labels)
    if num_labels < 2 * len(classes):
        raise UserError(
            f"{num_labels} labels are fewer than two for each of {len(classes)} classes; use at "
            f"least {2 * len(classes)}"
        )
    counts = np.full(len(classes), num_labels // len(classes))
    counts[rng.permutation(len(classes))[: num_labels % len(classes)]] += 1
    chosen = []
    for value, count in zip(classes, counts, strict=True):
        members = np.flatnonzero(labels == value)
        if count > len(members):
            raise UserError(
                f"{num_labels} labels in {len(classes)} classes take {count} of the class {value}, "
                f"which has {len(members)}; use fewer labels"
            )
        chosen.append(rng.choice(members, count, replace=False))
    return rng.permutation(np.concatenate(chosen))


def neighbours_accuracy(
    codes: Codes, labels: Labels, test_codes: Codes, test_labels: Labels
) -> float:
    """Return the test accuracy of the vote of the 5 nearest by Euclidean distance, from 0 to 1.

    Fewer than 5 examples all vote.
    """
    num = min(NUM_NEIGHBOURS, len(codes))
    return float((neighbours.predict(codes, labels, test_codes, num) == test_labels).mean())


def linear_accuracy(codes: Codes, labels: Labels, test_codes: Codes, test_labels: Labels) -> float:
    """Return the test accuracy of a multinomial logistic regression, from 0 to 1.

    It minimises the mean cross-entropy in nats plus penalty / 2 times the sum of the squared
    weights. Codes are centred and divided by one number, the root of their mean variance: an
    uninformative dimension, which hardly varies, stays small. The penalty is chosen by the
    cross-entropy on a fifth of the labelled examples, equally many per class; then all of them are
    fitted with it.
    """
    mean = codes.mean(axis=0, dtype=np.float64)
    scale = math.sqrt(np.square(codes - mean).mean()) or 1.0
    # In the codes' own precision: a probe on all pixels takes half the time in float32.
    codes, test_codes = (
        ((part - mean) / scale).astype(codes.dtype) for part in (codes, test_codes)
    )
    held_out = np.zeros(len(labels), bool)
    for value in np.unique(labels):
        held_out[np.flatnonzero(labels == value)[1::_HELD_OUT]] = True
    penalty = _best_penalty(codes[~held_out], labels[~held_out], codes[held_out], labels[held_out])
    fitted = _fit(codes, labels, (penalty,))[0]
    return float((fitted.predict(test_codes) == test_labels).mean())


def _best_penalty(codes: Codes, labels: Labels, held_out: Codes, held_out_labels: Labels) -> float:
    # A class with a single example has none held out.
    if len(held_out_labels) == 0:
        return PENALTIES[0]
    losses = []
    for probe in _fit(codes, labels, PENALTIES):
        log_probs = _log_probs(probe, held_out)
        indices = np.searchsorted(probe.classes_, held_out_labels)
        losses.append(-log_probs[np.arange(len(held_out)), indices].mean())
    return PENALTIES[int(np.argmin(losses))]


def _log_probs(probe: LogisticRegression, codes: Codes) -> Float[np.ndarray, "num classes"]:
    """Return log probabilities, finite where scikit-learn's probability underflows to zero."""
    logits = probe.decision_function(codes)
    if logits.ndim == 1:
        # For two classes there is one logit, that of the second against the first.
        logits = np.stack([np.zeros_like(logits), logits], axis=1)
    return log_softmax(logits, axis=1)


def _fit(codes: Codes, labels: Labels, penalties: tuple[float, ...]) -> list[LogisticRegression]:
    """Return a probe per penalty; each starts from the one before, which is close."""
    probes: list[LogisticRegression] = []
    for penalty in penalties:
        # C is the factor of the sum of the losses.
        probe = LogisticRegression(
            C=1 / (penalty * len(labels)), max_iter=_MOST_ITERATIONS, warm_start=True
        )
        if probes:
            probe.coef_, probe.intercept_ = probes[-1].coef_, probes[-1].intercept_
        with warnings.catch_warnings():
            # More iterations would change less than the next penalty does.
            warnings.simplefilter("ignore", ConvergenceWarning)
            probes.append(probe.fit(codes, labels))
    return probes


class Accuracies(NamedTuple):
    """Test accuracies of a probe and of neighbours, from 0 to 1."""

    linear: float
    neighbours: float


def accuracies(
    codes: AnyCodes,
    labels: Labels,
    test_codes: AnyCodes,
    test_labels: Labels,
    *,
    num_labels: int,
    num_draws: int,
    seed: int,
) -> Accuracies:
    """Return the accuracies with a number of labels, averaged over draws of the labelled examples.

    The draws depend on `seed` and `num_labels` alone, so that two codes of the same examples get
    the same labels. With all labels there is one draw.

    Raises:
      UserError: as `check` and `draw_labelled`.
    """
    check(codes, labels, test_codes, test_labels)
    rng, found = np.random.default_rng((seed, num_labels)), []
    for _ in range(1 if num_labels == len(labels) else num_draws):
        chosen = draw_labelled(labels, num_labels, rng)
        known = codes[chosen], labels[chosen], test_codes, test_labels
        found.append((linear_accuracy(*known), neighbours_accuracy(*known)))
    linear, by_neighbours = np.mean(found, axis=0)
    return Accuracies(float(linear), float(by_neighbours))
