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
    # "mnist" is bundled; "sprites", "sprites_smooth" and "sprites_color" are rendered. Else a TFDS
    # data set prepared under data.dir, a .npz file, or a folder.
    config.data.name = "mnist"
    config.data.dir = "data"
    # TFDS's syntax. An empty validation split trains without one and keeps the last parameters.
    config.data.train_split = "train[:55000]"
    config.data.validation_split = "train[55000:]"
    config.data.test_split = "test"
    # dynamic: a fresh draw each minibatch; static: one draw from binarization_seed; none: greys.
    config.data.binarization = "dynamic"
    config.data.binarization_seed = 0
    # Crop image files to the central square and resize it, to this height and width; 0 does not.
    # Sprites are rendered in this size; 0 is 64.
    config.data.image_size = 0
    # memory: the training set is decoded once and kept; stream: read and decoded while it is
    # trained on; auto: stream where the decoded images take more than memory_limit; render, of
    # sprites: only factors are kept, and each step renders its images.
    config.data.mode = "auto"
    # render only. grid: the values that factors have; continuous: those around them, too.
    config.data.factors = "grid"
    # GiB; two thirds of it bound what a stream holds. The other splits must fit into it.
    config.data.memory_limit = 4.0
    # multimodal only: what an example consists of, such as ("image", "label").
    config.data.modalities = ()
    # The share of training examples that have each modality, in the order of data.modalities; ()
    # is all of each. One that is drawn without any is drawn again. Validation and test have all.
    config.data.modality_shares = ()
    # Of what is drawn of captions and renderings, and of which examples have what.
    config.data.modality_seed = 0
    # Of the modality "text": a file of your own captions, a line an image, with {split} in its name
    # for the name of the split. Without one, those of MNIST and Fashion-MNIST are written from what
    # is measured of the images.
    config.data.captions = ""
    # Of your own captions: the most words and signs, and one; 0 is as many as training ones have.
    config.data.caption_length = 0
    # A word that training captions do not have is refused, or replaced and reported (replace).
    config.data.unknown_words = "refuse"

    config.model = ConfigDict()
    # vae, autoencoder; multimodal, several encoders and decoders around one latent space.
    config.model.name = "vae"
    config.model.latent_size = 32
    # diagonal, independent normals; iaf, the same through an inverse autoregressive flow.
    config.model.posterior = "diagonal"
    # standard; mixture, of normals; vamp, of the posteriors of learned images; flow.
    config.model.prior = "standard"
    # Only the mixture and vamp priors read this.
    config.model.prior_components = 500
    # Only the iaf posterior and the flow prior read these two: steps, and units of hidden layers.
    config.model.flow_layers = 2
    config.model.flow_width = 128
    # none; markov, ladder: a second layer of latents above the first, to which the prior then
    # belongs (vae_jax/models/hierarchies.py).
    config.model.hierarchy = "none"
    # Of that layer: its size, and the hidden layers of its encoder, which its decoder mirrors.
    config.model.top_latent_size = 0
    config.model.top_widths = ()
    # mlp, conv, resnet (vae_jax/networks/residual.py).
    config.model.network = "mlp"
    # Hidden layers of the encoder; the decoder mirrors them. After convolutions, if any.
    config.model.widths = (400,)
    # Layers (x W) * sigmoid(x V) in place of the activation; mlp only.
    config.model.gated = False
    # elu, gelu, leaky_relu, relu, silu, softplus, tanh.
    config.model.activation = "silu"
    # How dense layers start: lecun, glorot.
    config.model.initializer = "lecun"
    # The image that the decoder starts at: mean_image; grey, half of full brightness. At the mean
    # image rectifiers with many latents may collapse at once, unless the KL is warmed up.
    config.model.decoder_start = "mean_image"
    # Not for mlp: each channel count halves the image once, by a convolution of that kernel size.
    # Downsampling is stride or pool (convolution, then pooling); upsampling transpose or resize
    # (then convolution).
    config.model.channels = (32, 64)
    config.model.kernel_size = 4
    config.model.downsampling = "stride"
    config.model.upsampling = "transpose"
    # resnet only: residual blocks a level; whether the backward pass computes their insides anew
    # rather than keep them.
    config.model.blocks = 2
    config.model.remat = False
    # What the encoder's and decoder's products run in: float32, bfloat16. Parameters, sums and loss
    # stay float32.
    config.model.compute_dtype = "float32"
    # bernoulli, continuous_bernoulli: data in [0, 1]; normal, laplace: any data;
    # discretized_logistic, discretized_logistic_mixture, categorical (256 outputs a channel): the
    # 256 levels of 8-bit images. All but bernoulli without binarization.
    config.model.likelihood = "bernoulli"
    # normal and laplace only: the scale, or where it starts.
    config.model.likelihood_scale = 1.0
    # normal only. fixed; learned, one scale; per_pixel, by the decoder; optimal, of sigma-VAE.
    config.model.normal_scale = "fixed"
    # discretized_logistic_mixture only: components a channel.
    config.model.num_mixture = 10
    # factor objective only: hidden layers of the discriminator. Kim & Mnih 2018: (1000,) * 6.
    config.model.discriminator_widths = ()
    # multimodal only: how the posteriors of single modalities become one. product (MVAE), mixture
    # (MMVAE), mixture_of_products (MoPoE), joint (JMVAE; an encoder of both) of two modalities
    # (vae_jax/models/experts.py). Images and classes have bodies of `widths`.
    config.model.joint_posterior = "product"
    # Of texts: the size of a word's vector, and the width of the encoder and the decoder.
    config.model.embedding_size = 32
    config.model.text_width = 64

    # What happens to the encoder's input: none; gaussian, salt_and_pepper, masking (of pixels),
    # box, downsampling, blur (vae_jax/data/corruptions.py).
    config.corruption = "none"

    config.objective = ConfigDict()
    # elbo; iwae, miwae, piwae, ciwae: importance-weighted bounds (vae_jax/objectives/bounds.py);
    # capacity, tc, factor, dip: beta-VAE of a given rate, beta-TCVAE, FactorVAE, DIP-VAE
    # (vae_jax/objectives/disentangling.py).
    config.objective.name = "elbo"
    # Samples of the latents an image; the elbo is averaged over them.
    config.objective.num_samples = 1
    # miwae and piwae only: groups of num_samples each.
    config.objective.num_groups = 1
    # plain; stl, sticking the landing (elbo only); dreg, doubly reparameterised (iwae only).
    config.objective.gradient = "plain"
    # Estimate the KL of the elbo by the samples even where it has a closed form.
    config.objective.sampled_kl = False
    # tc only: minibatch-weighted or minibatch-stratified sampling (weighted, stratified).
    config.objective.tc_estimator = "weighted"
    # dip only: the covariance of the posterior means (i), or of the latents (ii).
    config.objective.dip_kind = "i"
    # multimodal only: the weight of each modality's log likelihood in the loss, in the order of
    # data.modalities; () weighs each 1. What is reported is not weighed.
    config.objective.modality_weights = ()
    # product only, of three modalities or more: subsets, drawn for every example, whose ELBOs are
    # added to that of all modalities and those of single ones.
    config.objective.num_subsets = 0

    config.optimizer = ConfigDict()
    # adam, adagrad, sgd.
    config.optimizer.name = "adam"
    # cosine, from the learning rate to 0 over the whole run; constant; powers_of_three: 3^i epochs
    # at 10^(-i/7) of the learning rate, i = 0, 1, ... (Burda et al. 2015, section 5).
    config.optimizer.schedule = "cosine"
    # Of Adam.
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.epsilon = 1e-8
    # Global norm above which gradients are scaled down; 0 never does.
    config.optimizer.gradient_clip_norm = 0.0
    # Parts that a batch goes through the model in, one after the other, to save memory.
    config.optimizer.accumulation_steps = 1

    # Enter the compiled program as arrays: a sweep over them compiles once.
    config.hparams = ConfigDict()
    config.hparams.learning_rate = 3e-3
    # Weights of the KL (with tc: of its total correlation alone) and of the distortion in the loss.
    config.hparams.beta = 1.0
    config.hparams.distortion_weight = 1.0
    # Epochs over which beta rises from 0.
    config.hparams.warmup_epochs = 0.0
    # Epochs after which it falls to 0 and rises anew; 0 never.
    config.hparams.warmup_cycle_epochs = 0.0
    # Nats of KL a latent dimension may use, on average over a batch, at no cost.
    config.hparams.free_nats = 0.0
    # Share of the elbo in the ciwae objective.
    config.hparams.ciwae_weight = 0.0
    # Weight of the total correlation (factor), or of |rate - capacity| (capacity).
    config.hparams.gamma = 1.0
    # Nats of the capacity objective, and the epochs over which they rise from 0.
    config.hparams.capacity = 0.0
    config.hparams.capacity_epochs = 0.0
    # Weights of the dip objective: of the squared covariances, and of variances that are not 1.
    config.hparams.dip_off_diagonal = 1.0
    config.hparams.dip_diagonal = 1.0
    # Of the factor objective's discriminator, which has an Adam of its own.
    config.hparams.discriminator_learning_rate = 1e-4
    # joint only: weight of KL(q(z|x, y) || q(z|x)) and KL(q(z|x, y) || q(z|y)).
    config.hparams.unimodal_kl_weight = 0.0
    # Texts only: share of the words that the decoder is not told while it is trained.
    config.hparams.word_dropout = 0.0
    # Standard deviation of gaussian noise in grey values, of blur in pixels; side of the box as a
    # share of the image; factor of downsampling; else the share of pixels hit.
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
    # Measure how single latents hold single factors, of data whose factors are known.
    config.evaluation.disentanglement = False
    return config
