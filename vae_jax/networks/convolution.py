"""Strided and transposed convolution in two forms that give the same numbers.

On accelerators both are `lax` convolutions. XLA's CPU backend takes a slow path for convolutions
inside loops. There a convolution is patches times a matrix, and a transposed convolution is a
matrix product whose overlapping patches are added up.

The form is chosen when a program is lowered, for the platform that it is lowered for: it depends
on the device that runs the model, not on the process that built it. Both forms share one layout of
the parameters.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from vae_jax.networks.initializers import HE, Initializer
from vae_jax.networks.precision import ComputeDtype

_DIMENSION_NUMBERS = ("NHWC", "HWIO", "NHWC")

Images = Float[Array, "batch height width channels"]
Outputs = Float[Array, "batch rows columns outputs"]
Patches = Float[Array, "batch rows columns patch"]
Kernel = Float[Array, "kernel kernel inputs outputs"]


def same_padding(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Return the padding of an axis before and after, so that ceil(size / stride) windows fit."""
    total = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


@jax.custom_vjp
def tall_matmul(
    x: Float[Array, "rows inputs"], w: Float[Array, "inputs outputs"]
) -> Float[Array, "rows outputs"]:
    """Return x @ w for many rows, with a gradient in w that the CPU computes at full speed.

    If x is wider than the output, XLA's product over the long shared axis takes twice the time
    unless the gradient of the output is transposed in memory. The barriers keep XLA from folding
    that transposition into the product.
    """
    return x @ w


def _tall_matmul_backward(residuals: tuple[Array, Array], d_out: Array) -> tuple[Array, Array]:
    x, w = residuals
    if x.shape[1] <= d_out.shape[1]:
        d_w = x.T @ d_out
    else:
        d_w = lax.optimization_barrier(lax.optimization_barrier(d_out.T) @ x).T
    return d_out @ w.T, d_w


tall_matmul.defvjp(lambda x, w: (x @ w, (x, w)), _tall_matmul_backward)


def _slice_patches(images: Images, kernel_size: int, stride: int) -> Patches:
    rows = (images.shape[1] - kernel_size) // stride + 1
    columns = (images.shape[2] - kernel_size) // stride + 1
    return jnp.concatenate(
        [
            images[
                :,
                i : i + (rows - 1) * stride + 1 : stride,
                j : j + (columns - 1) * stride + 1 : stride,
            ]
            for i in range(kernel_size)
            for j in range(kernel_size)
        ],
        axis=-1,
    )


def _add_patches(patches: Patches, kernel_size: int, stride: int) -> Images:
    """Return the transpose of `_slice_patches`, onto images that the windows cover exactly."""
    # XLA's own convolution keeps this sum in float32, too.
    total = _add_float32_patches(patches.astype(jnp.float32), kernel_size, stride)
    return total.astype(patches.dtype)


def _add_float32_patches(patches: Patches, kernel_size: int, stride: int) -> Images:
    batch, rows, columns, size = patches.shape
    channels = size // kernel_size**2
    if kernel_size % stride == 0:
        # Each window is a square of stride-sized blocks: add whole blocks on their grid.
        blocks = kernel_size // stride
        patches = patches.reshape(batch, rows, columns, blocks, stride, blocks, stride, channels)
        total = sum(
            jnp.pad(
                patches[:, :, :, i, :, j],
                ((0, 0), (i, blocks - 1 - i), (j, blocks - 1 - j), (0, 0), (0, 0), (0, 0)),
            )
            for i in range(blocks)
            for j in range(blocks)
        )
        grid_rows, grid_columns = rows + blocks - 1, columns + blocks - 1
        return jnp.transpose(total, (0, 1, 3, 2, 4, 5)).reshape(
            batch, grid_rows * stride, grid_columns * stride, channels
        )
    shape = (
        batch,
        (rows - 1) * stride + kernel_size,
        (columns - 1) * stride + kernel_size,
        channels,
    )
    slice_patches = functools.partial(_slice_patches, kernel_size=kernel_size, stride=stride)
    transpose = jax.linear_transpose(slice_patches, jax.ShapeDtypeStruct(shape, patches.dtype))
    return transpose(patches)[0]


# The two functions are each other's transpose, and both are fast. Without these rules the gradient
# of one would be XLA's slow transposition of it instead of the other.
@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def extract_patches(images: Images, kernel_size: int, stride: int) -> Patches:
    """Return windows of `kernel_size` at every `stride`, which must cover the images exactly.

    Returns:
      `[batch, rows, columns, kernel_size * kernel_size * channels]`.
    """
    return _slice_patches(images, kernel_size, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def overlap_add(patches: Patches, kernel_size: int, stride: int) -> Images:
    """Return images, the sums of the patches at their windows: `extract_patches` transposed."""
    return _add_patches(patches, kernel_size, stride)


extract_patches.defvjp(
    lambda images, kernel_size, stride: (_slice_patches(images, kernel_size, stride), None),
    lambda kernel_size, stride, _, d_out: (overlap_add(d_out, kernel_size, stride),),
)
overlap_add.defvjp(
    lambda patches, kernel_size, stride: (_add_patches(patches, kernel_size, stride), None),
    lambda kernel_size, stride, _, d_out: (extract_patches(d_out, kernel_size, stride),),
)


def conv_as_matmul(images: Images, kernel: Kernel, stride: int) -> Outputs:
    """Return a convolution with "SAME" padding, as patches times a matrix."""
    kernel_size, _, inputs, outputs = kernel.shape
    if stride == 1 and kernel_size % 2 == 1 and outputs < inputs:
        # The same sum in the other order has patches of fewer channels.
        return conv_transpose_as_matmul(images, kernel[::-1, ::-1], 1)
    pads = [same_padding(size, kernel_size, stride) for size in images.shape[1:3]]
    # Without the rows and columns past the last window, the windows cover the images exactly.
    covered = [(-(-size // stride) - 1) * stride + kernel_size for size in images.shape[1:3]]
    padded = jnp.pad(images, ((0, 0), *pads, (0, 0)))[:, : covered[0], : covered[1]]
    patches = extract_patches(padded, kernel_size, stride)
    out = tall_matmul(patches.reshape(-1, patches.shape[-1]), kernel.reshape(-1, outputs))
    return out.reshape(*patches.shape[:3], outputs)


def conv_by_lax(images: Images, kernel: Kernel, stride: int) -> Outputs:
    """Return a convolution with "SAME" padding, by XLA's own operation."""
    pads = [same_padding(size, kernel.shape[0], stride) for size in images.shape[1:3]]
    return lax.conv_general_dilated(
        images, kernel, (stride, stride), pads, dimension_numbers=_DIMENSION_NUMBERS
    )


def conv_transpose_as_matmul(images: Images, kernel: Kernel, stride: int) -> Outputs:
    """Return a transposed convolution, `stride` times the size, as product and overlap-add."""
    kernel_size, inputs = kernel.shape[0], kernel.shape[2]
    batch, height, width, _ = images.shape
    matrix = jnp.transpose(kernel, (2, 0, 1, 3)).reshape(inputs, -1)
    patches = tall_matmul(images.reshape(-1, inputs), matrix)
    out = overlap_add(patches.reshape(batch, height, width, -1), kernel_size, stride)
    low = (kernel_size - stride) // 2
    return out[:, low : low + height * stride, low : low + width * stride]


def conv_transpose_by_lax(images: Images, kernel: Kernel, stride: int) -> Outputs:
    """Return a transposed convolution, `stride` times the size, by XLA's own operation."""
    kernel_size = kernel.shape[0]
    low = (kernel_size - stride) // 2
    high = kernel_size - stride - low
    pads = (kernel_size - 1 - low, kernel_size - 1 - high)
    return lax.conv_general_dilated(
        images,
        kernel[::-1, ::-1],
        window_strides=(1, 1),
        padding=(pads, pads),
        lhs_dilation=(stride, stride),
        dimension_numbers=_DIMENSION_NUMBERS,
    )


# Convolves images with a kernel at a stride.
Form = Callable[[Images, Kernel, int], Outputs]


def _by_platform(on_cpu: Form, elsewhere: Form) -> Form:
    """Return a convolution that takes one form on the CPU and the other on accelerators.

    Its gradient chooses the form again and keeps only the images and the kernel. A gradient through
    the choice would keep the residuals of both forms, patches on accelerators among them.
    """

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
    def apply(images: Images, kernel: Kernel, stride: int) -> Outputs:
        return lax.platform_dependent(
            images,
            kernel,
            cpu=lambda images, kernel: on_cpu(images, kernel, stride),
            default=lambda images, kernel: elsewhere(images, kernel, stride),
        )

    def forward(
        images: Images, kernel: Kernel, stride: int
    ) -> tuple[Outputs, tuple[Images, Kernel]]:
        return apply(images, kernel, stride), (images, kernel)

    def backward(
        stride: int, residuals: tuple[Images, Kernel], d_out: Outputs
    ) -> tuple[Images, Kernel]:
        def gradient(form: Form) -> Callable[[Images, Kernel, Outputs], tuple[Images, Kernel]]:
            def pull_back(images: Images, kernel: Kernel, d_out: Outputs) -> tuple[Images, Kernel]:
                def convolve(images: Images, kernel: Kernel) -> Outputs:
                    return form(images, kernel, stride)

                return jax.vjp(convolve, images, kernel)[1](d_out)

            return pull_back

        return lax.platform_dependent(
            *residuals, d_out, cpu=gradient(on_cpu), default=gradient(elsewhere)
        )

    apply.defvjp(forward, backward)
    return apply


conv = _by_platform(conv_as_matmul, conv_by_lax)
conv_transpose = _by_platform(conv_transpose_as_matmul, conv_transpose_by_lax)


class _Convolution(nnx.Module):
    """A convolution with product in `dtype`; parameters, bias and result are float32."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        *,
        form: Form,
        dtype: ComputeDtype,
        kernel_init: Initializer,
        rngs: nnx.Rngs,
    ) -> None:
        shape = (kernel_size, kernel_size, in_channels, out_channels)
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(out_channels))
        self.stride = stride
        self.dtype = dtype
        self.form = form

    def __call__(self, images: Images) -> Outputs:
        kernel = self.kernel[...].astype(self.dtype)
        return self.form(images.astype(self.dtype), kernel, self.stride) + self.bias[...]


class Conv(_Convolution):
    """Convolution with "SAME" padding: height and width become `ceil(size / stride)`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        dtype: ComputeDtype = jnp.float32,
        kernel_init: Initializer = HE,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            form=conv,
            dtype=dtype,
            kernel_init=kernel_init,
            rngs=rngs,
        )


class ConvTranspose(_Convolution):
    """Transposed convolution: height and width become exactly `stride` times as large.

    `kernel_size` must be at least `stride`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        *,
        dtype: ComputeDtype = jnp.float32,
        kernel_init: Initializer = HE,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            form=conv_transpose,
            dtype=dtype,
            kernel_init=kernel_init,
            rngs=rngs,
        )
