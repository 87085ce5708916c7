"""A vanilla VAE on dynamically binarised MNIST: the default experiment.

python -m experiments.train --config=configs/vanilla.py --workdir=runs/vanilla

On two cores without an accelerator it trains for 70 s and is measured in 35 s. Expect a test ELBO
of -94.9 and an IWAE bound (1,000 samples) of -90.4 nats.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Every field that an experiment has; the other configs change some of these."""
    config = ConfigDict()

    config.seed = 0
    config.epochs = 60
    config.batch_size = 128
    # Longest scan in one call, in steps: between calls come signals, progress and NaN checks.
    config.steps_per_call = 1000
    # Stop after so many epochs without a better validation loss; 0 never stops early.
    config.patience = 0

    config.data = ConfigDict()
    # "mnist" is bundled. Else a TFDS data set prepared under data.dir, a .npz file, or a folder.
    config.data.name = "mnist"
    config.data.dir = "data"
    # TFDS's syntax. An empty validation split trains without one and keeps the last parameters.
    config.data.train_split = "train[:55000]"
    config.data.validation_split = "train[55000:]"
    config.data.test_split = "test"
    # dynamic: a fresh draw each minibatch; static: one draw from binarization_seed; none: greys.
    config.data.binarization = "dynamic"
    config.data.binarization_seed = 0

    config.model = ConfigDict()
    # vae, autoencoder.
    config.model.name = "vae"
    config.model.latent_size = 32
    # mlp, conv.
    config.model.network = "mlp"
    # Hidden layers of the encoder; the decoder mirrors them. In a conv network they follow it.
    config.model.widths = (400,)
    # Layers (x W) * sigmoid(x V) in place of the activation; mlp only.
    config.model.gated = False
    # elu, gelu, leaky_relu, relu, silu, tanh.
    config.model.activation = "silu"
    # Only conv networks read these four; each channel count halves the image once. Downsampling is
    # stride or pool (convolution, then pooling); upsampling transpose or resize (then convolution).
    config.model.channels = (32, 64)
    config.model.kernel_size = 4
    config.model.downsampling = "stride"
    config.model.upsampling = "transpose"
    # bernoulli, for data in [0, 1]; normal, for any.
    config.model.likelihood = "bernoulli"
    # Only the normal likelihood reads these two: its standard deviation, and whether it is learned.
    config.model.likelihood_scale = 1.0
    config.model.learn_scale = False

    # What happens to the encoder's input: none, gaussian, masking, salt_and_pepper.
    config.corruption = "none"

    config.optimizer = ConfigDict()
    # adam, adagrad, sgd.
    config.optimizer.name = "adam"
    # cosine, from the learning rate to 0 over the whole run; constant.
    config.optimizer.schedule = "cosine"
    # Global norm above which gradients are scaled down; 0 never does.
    config.optimizer.gradient_clip_norm = 0.0

    # Enter the compiled program as arrays: a sweep over them compiles once.
    config.hparams = ConfigDict()
    config.hparams.learning_rate = 3e-3
    # Weights of the KL and of the distortion in the loss.
    config.hparams.beta = 1.0
    config.hparams.distortion_weight = 1.0
    # Epochs over which beta rises from 0.
    config.hparams.warmup_epochs = 0.0
    # Nats of KL a latent dimension may use, on average over a batch, at no cost.
    config.hparams.free_nats = 0.0
    # Standard deviation of gaussian noise; for the other corruptions the share of pixels hit.
    config.hparams.corruption_level = 0.0
    # Decoupled, of the matrices alone.
    config.hparams.weight_decay = 0.0

    config.checkpoints = ConfigDict()
    # At the end of a scan and of the run; 0 after every scan.
    config.checkpoints.every_seconds = 30.0
    config.checkpoints.max_to_keep = 3

    config.tensorboard = ConfigDict()
    # Samples and reconstructions; 0 writes none.
    config.tensorboard.images_every_epochs = 10

    config.evaluation = ConfigDict()
    # Importance samples an image of the IWAE bound on the test set.
    config.evaluation.num_samples = 1000
    config.evaluation.batch_size = 500
    # Of the binarisation of the test set and of every sample drawn there.
    config.evaluation.seed = 0
    return config
