"""The objective of M2: bounds with known and unknown classes, and a classifier's cross-entropy.

Kingma, Rezende, Mohamed, Welling 2014 (arXiv 1406.5298, equations 6 to 9).
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from vae_jax.objectives.base import OBJECTIVES, LabelledBatch, Metrics, Objective, Scalar
from vae_jax.objectives.bounds import elbo_terms
from vae_jax.settings import Traced, name_of, register, traced


def elbo_by_class(
    model: Any, inputs: Float[Array, "..."], targets: Float[Array, "..."], key: Key[Array, ""]
) -> tuple[Float[Array, "classes batch"], Float[Array, "classes batch"]]:
    """Return the log likelihood and the KL of one draw of q(z|x, y) for every class, in nats.

    All classes share the features of the image.
    """
    classes = jnp.arange(model.num_classes)[:, None]
    terms = elbo_terms(model.given(classes), inputs, targets, key)
    return terms.log_likelihood, terms.kl.sum(axis=-1)


def bound(
    elbo: Float[Array, "classes batch"],
    log_q: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
) -> Float[Array, " batch"]:
    """Return a bound on log p(x, y) of a known class, or on log p(x) of an unknown one, in nats.

    With the uniform p(y): elbo(x, y) + log p(y), and E_q(y|x)[elbo(x, y) + log p(y) - log q(y|x)]
    (equations 6 and 7).

    Args:
      elbo: the bound on log p(x|y) of each class.
      log_q: log q(y|x).
      labels: the known classes; -1 for an unknown one.
    """
    known = labels >= 0
    q = jnp.where(known[:, None], jax.nn.one_hot(labels, log_q.shape[1]), jnp.exp(log_q))
    entropy = jnp.where(known, 0, -(jnp.exp(log_q) * log_q).sum(axis=1))
    return (q * elbo.T).sum(axis=1) - jnp.log(log_q.shape[1]) + entropy


@register(OBJECTIVES, "m2")
@dataclasses.dataclass(frozen=True)
class M2(Objective):
    """The bound of M2, classes marginalised where unknown (Kingma et al. 2014)."""

    takes_labels: ClassVar[bool] = True

    classification_weight: Traced = traced(
        0.1,
        "Weight of the classifier's mean cross-entropy on labelled examples, against the mean "
        "bound over all: alpha of equation 9 over the number of examples.",
        at_least=0.0,
    )
    bound_weight: Traced = traced(
        1.0, "Weight of the bound; 0 leaves a classifier alone.", at_least=0.0
    )

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        if getattr(model, "classifies", False):
            return None
        return (
            f"objective='m2' trains a classifier, which model={name_of(model)!r} does not have; "
            "use model='m2'"
        )

    def loss(
        self,
        model: Any,
        batch: LabelledBatch,
        key: Key[Array, ""],
        *,
        epoch: Scalar,
        num_examples: int,
        **networks: nnx.Module,
    ) -> tuple[Scalar, Metrics]:
        """Return minus the bound plus the weighted cross-entropy, and their parts as metrics.

        "elbo" is the bound with log p(y), "rate" and "distortion" are averaged over q(y|x), and
        "accuracy" is that of the classifier on the labelled examples.
        """
        del epoch, num_examples, networks
        log_q = jax.nn.log_softmax(model.classify(batch.inputs).logits)
        log_likelihood, kl = elbo_by_class(model, batch.inputs, batch.targets, key)
        bounds = bound(log_likelihood - kl, log_q, batch.labels)
        classifier = model.classify(batch.labelled_inputs)
        cross_entropy = -classifier.log_prob(batch.labelled_labels).mean()
        right = classifier.logits.argmax(axis=-1) == batch.labelled_labels
        loss = -self.bound_weight * bounds.mean() + self.classification_weight * cross_entropy
        q = jnp.exp(log_q).T
        return loss, {
            "elbo": bounds.mean(),
            "rate": (q * kl).sum(axis=0).mean(),
            "distortion": -(q * log_likelihood).sum(axis=0).mean(),
            "cross_entropy": cross_entropy,
            "accuracy": right.astype(jnp.float32).mean(),
        }
