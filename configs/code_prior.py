"""The second stage of a VQ-VAE: a prior over its codes, which gives it samples and a bound.

python -m experiments.train --config=configs/vq_vae.py --workdir=runs/vq_vae
python -m experiments.train --config=configs/code_prior.py --workdir=runs/code_prior

The first command trains the codes, the second a causal transformer over them. When it begins, the
second copies the first stage, and does not read runs/vq_vae again.
`--config.model.first_stage=runs/other` names another run, whose data it then must have.

The whole budget has not been measured. With 5,000 training images in batches of 32,
`--config.epochs=3` in the first stage and 8 in the second give a rate of 124.3 nats, 3.7 bits per
code, and a distortion of 65.1 nats, on 1,000 test images; append this to both commands:

--config.batch_size=32 "--config.data.train_split=train[:5000]"
"--config.data.validation_split=train[55000:55500]" "--config.data.test_split=test[:1000]"

Grey values under a Bernoulli likelihood have no bits per dimension; with
`--config.data.binarization=dynamic` in both commands there are. `experiments.compress` writes
images as codes, with loss, in the bits that the prior gives them.
"""

from ml_collections import ConfigDict

from configs import vq_vae


def get_config() -> ConfigDict:
    """Return a causal transformer over the codes of runs/vq_vae."""
    config = vq_vae.get_config()
    config.epochs = 20
    config.model = {"name": "code_prior", "first_stage": "runs/vq_vae"}
    return config
