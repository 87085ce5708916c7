"""The objective of M2: bounds with known and unknown classes, and a classifier's cross-entropy.

Kingma, Rezende, Mohamed, Welling 2014 (arXiv 1406.5298, equations 6 to 9).
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from vae_jax.objectives.base import OBJECTIVES, LabelledBatch, Metrics, Objective, Scalar
from vae_jax.objectives.bounds import elbo_terms
from vae_jax.settings import Traced, integer, name_of, register, traced


def elbo_by_class(
    model: Any,
    inputs: Float[Array, "..."],
    targets: Float[Array, "..."],
    classes: Int[Array, "classes #batch"],
    key: Key[Array, ""],
) -> tuple[Float[Array, "classes batch"], Float[Array, "classes batch"]]:
    """Return the log likelihood and the KL of one draw of q(z|x, y) for each class, in nats.

    All classes share the features of the image.
    """
    terms = elbo_terms(model.given(classes), inputs, targets, key)
    return terms.log_likelihood, terms.kl.sum(axis=-1)


def likeliest(
    log_q: Float[Array, "batch all_classes"], labels: Int[Array, " batch"], num: int
) -> tuple[Int[Array, "classes batch"], Float[Array, "classes batch"]]:
    """Return the `num` likeliest classes of each image, a known one among them, and their log q.

    These are normalised: q(y|x) cut off to these classes, which gives a bound as any q does.
    """
    kept, classes = jax.lax.top_k(log_q, num)
    is_missing = (labels >= 0) & (classes != labels[:, None]).all(axis=1)
    classes = classes.at[:, -1].set(jnp.where(is_missing, labels, classes[:, -1]))
    return classes.T, jax.nn.log_softmax(kept, axis=1).T


def bound(
    elbo: Float[Array, "classes batch"],
    log_q: Float[Array, "classes batch"],
    is_label: Bool[Array, "classes batch"],
    num_classes: int,
) -> Float[Array, " batch"]:
    """Return a bound on log p(x, y) of a known class, or on log p(x) of an unknown one, in nats.

    With the uniform p(y): elbo(x, y) + log p(y), and E_q(y|x)[elbo(x, y) + log p(y) - log q(y|x)]
    (equations 6 and 7).

    Args:
      elbo: the bound on log p(x|y) of each class.
      log_q: log q(y|x).
      is_label: True at the known class of an image; False everywhere if it is not known.
      num_classes: the number of all classes.
    """
    weights = class_weights(log_q, is_label)
    entropy = jnp.where(is_label.any(axis=0), 0, -(jnp.exp(log_q) * log_q).sum(axis=0))
    return (weights * elbo).sum(axis=0) - jnp.log(num_classes) + entropy


def class_weights(
    log_q: Float[Array, "classes batch"], is_label: Bool[Array, "classes batch"]
) -> Float[Array, "classes batch"]:
    """Return 1 for the known class of an image, or q(y|x)."""
    return jnp.where(is_label.any(axis=0), is_label, jnp.exp(log_q))


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
    labelled_weight: Traced = traced(
        0.0,
        "Weight of the mean bound on log p(x, y) of labelled examples, against the mean bound over "
        "all, in which few labels hardly count.",
        at_least=0.0,
    )
    most_classes: int = integer(
        0,
        "Likeliest classes of each image to which q(class|x) is cut off, for a bound in less time; "
        "0 is all.",
        at_least=2,
        zero=True,
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
        """Return minus the weighted bounds plus the weighted cross-entropy, and parts as metrics.

        "elbo" is the bound with log p(y), "rate" and "distortion" are averaged over q(y|x),
        "labelled_elbo" is the bound on log p(x, y) of labelled examples, and "accuracy" that of the
        classifier on them.
        """
        del epoch, num_examples, networks
        log_q = jax.nn.log_softmax(model.classify(batch.inputs).logits)
        classes, log_q = jnp.arange(model.num_classes)[:, None], log_q.T
        if 0 < self.most_classes < model.num_classes:
            classes, log_q = likeliest(log_q.T, batch.labels, self.most_classes)
        key, labelled_key = jax.random.split(key)
        log_likelihood, kl = elbo_by_class(model, batch.inputs, batch.targets, classes, key)
        is_label = jnp.broadcast_to(classes == batch.labels, log_q.shape)
        bounds = bound(log_likelihood - kl, log_q, is_label, model.num_classes)
        classifier = model.classify(batch.labelled_inputs)
        cross_entropy = -classifier.log_prob(batch.labelled_labels).mean()
        right = classifier.logits.argmax(axis=-1) == batch.labelled_labels
        known = elbo_terms(
            model.given(batch.labelled_labels),
            batch.labelled_inputs,
            batch.labelled_targets,
            labelled_key,
        ).elbo - jnp.log(model.num_classes)
        loss = -bounds.mean() - self.labelled_weight * known.mean()
        loss += self.classification_weight * cross_entropy
        weights = class_weights(log_q, is_label)
        return loss, {
            "elbo": bounds.mean(),
            "rate": (weights * kl).sum(axis=0).mean(),
            "distortion": -(weights * log_likelihood).sum(axis=0).mean(),
            "labelled_elbo": known.mean(),
            "cross_entropy": cross_entropy,
            "accuracy": right.astype(jnp.float32).mean(),
        }
