"""M2, a VAE of images and classes for data of which few have labels.

Kingma, Rezende, Mohamed, Welling 2014 (arXiv 1406.5298): p(y) p(z) p(x|y, z), with the posteriors
q(y|x), a classifier, and q(z|x, y). The class is the condition of a conditional VAE.
"""

import dataclasses
from typing import Any, ClassVar

from flax import nnx
from jaxtyping import Array, Float

from vae_jax.distributions import Classes
from vae_jax.models.conditions import CONDITIONS, ConditionPart
from vae_jax.models.interfaces import MODELS, Encoder
from vae_jax.models.vae import ConditionalVAE, VAESettings
from vae_jax.networks.choices import ENCODERS, EncoderPart, ImageShape
from vae_jax.networks.precision import Dense
from vae_jax.settings import name_of, part, register


class SemiSupervisedVAE(ConditionalVAE):
    """A VAE of p(x|class) with a classifier q(class|x); classes are equally likely."""

    def __init__(
        self, *parts: Any, classifier: Encoder, num_classes: int, rngs: nnx.Rngs, **options: Any
    ) -> None:
        super().__init__(*parts, **options)
        self.classifier = classifier
        self.class_output = Dense(classifier.num_features, num_classes, rngs=rngs)
        self.num_classes = num_classes

    def classify(self, images: Float[Array, "*batch height width channels"]) -> Classes:
        """Return q(y|x) over `[*batch]`."""
        return Classes(self.class_output(self.classifier(images)))


@register(MODELS, "m2")
@dataclasses.dataclass(frozen=True)
class SemiSupervisedSettings(VAESettings):
    """M2: a VAE of images and classes, with a classifier (Kingma et al. 2014, arXiv 1406.5298)."""

    default_objective: ClassVar[str] = "m2"
    classifies: ClassVar[bool] = True

    condition: ConditionPart = part(
        "label", CONDITIONS, ConditionPart, "The class, which encoder and decoder see."
    )
    classifier: EncoderPart = part("mlp", ENCODERS, EncoderPart, "Images to features of q(y|x).")

    def problem(self) -> str | None:
        """Return why these parts do not fit together; None if they do."""
        if self.condition.reads != "labels":
            return (
                f"condition={name_of(self.condition)!r} is no class, which model='m2' is about; "
                "use condition='label', or model='vae'"
            )
        return super().problem()

    def smallest_side(self) -> int:
        """Return the smallest side, in pixels, that all networks take."""
        method = getattr(self.classifier, "smallest_side", lambda: 1)
        return max(super().smallest_side(), method())

    def build(
        self,
        spec: ImageShape,
        mean_image: Float[Array, "height width channels"] | None,
        *,
        rngs: nnx.Rngs,
    ) -> SemiSupervisedVAE:
        """Return the model with fresh parameters."""
        model: Any = super().build(spec, mean_image, rngs=rngs)
        classes: Any = self.condition
        return SemiSupervisedVAE(
            model.encoder,
            model.decoder,
            model.likelihood,
            model.posterior,
            model.prior_network,
            condition=model.condition,
            joint=model.joint,
            conditional_prior=model.conditional_prior,
            classifier=self.classifier.build(spec, rngs=rngs),
            num_classes=classes.classes,
            rngs=rngs,
        )
