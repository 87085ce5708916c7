"""A VQ-VAE on the grey values of MNIST: 7x7 codes of 256 per image.

python -m experiments.train --config=configs/vq_vae.py --workdir=runs/vq_vae

The whole budget has not been measured. With 5,000 training images in batches of 32, 8 epochs give a
squared error of 0.0044 per pixel, with all 256 codes in use at a perplexity of 201, on 1,000 test
images:

--config.epochs=8 --config.batch_size=32 "--config.data.train_split=train[:5000]"
"--config.data.validation_split=train[55000:55500]" "--config.data.test_split=test[:1000]"

`--config.model.quantizer=fsq` has finite scalars in place of the codebook (Mentzer et al. 2023),
and `vq_gradient` a codebook that is learned by its gradient. There is no prior over the codes: the
model has neither samples nor a likelihood, until `configs/code_prior.py` adds them.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return a codebook of moving averages between small convolutional networks."""
    config = vanilla.get_config()
    config.epochs = 10
    config.data.binarization = "none"
    config.model = {
        "name": "vq_vae",
        "quantizer": {"name": "vq", "codebook_size": 256, "vector_size": 16},
        "codes": (7, 7),
        "channels": 32,
        "blocks": 1,
    }
    config.optimizer.learning_rate = 1e-3
    return config
