"""A model's encoder and decoder as ONNX, for ONNX Runtime and what else reads the format.

An ONNX file holds one graph whose inputs are all needed, so that `encode` and `decode` are two
files. A graph is written from the program that JAX traces: `_RULES` has the operations. Parameters
have the names that they have in a .safetensors file. Convolutions are written as such. The batch
size is free.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.export
import numpy as np
from jax.extend import core

from vae_jax.errors import UserError
from vae_jax.sharing.functions import Function, Trained, functions_of, refused

SUFFIX = ".onnx"
# ONNX has no key of a random number generator, so that `sample` stays with the caller.
FUNCTIONS = ("encode", "decode")

_OPSET = 18
# Runtimes that know this opset read files of this version.
_IR_VERSION = 8

_BATCH = "batch"

# A value of the graph is an array if it is known, else the name of a node's output.
Value = np.ndarray | str


class _Unwritten(Exception):
    """An operation has no form in ONNX."""


def to_bytes(model: Trained) -> dict[str, bytes]:
    """Return the content of the files of `FUNCTIONS`, by name.

    Raises:
      UserError: the package onnx is not there, or the graph of a function cannot be written.
    """
    onnx = require_package()
    found = {}
    functions = functions_of(model)
    for name in FUNCTIONS:
        graph = _Graph(onnx)
        try:
            content = graph.write(name, functions[name], model)
        except _Unwritten as error:
            raise refused(name, "ONNX", str(error)) from None
        found[name] = content
    return found


def require_package() -> Any:
    """Return the package onnx.

    Raises:
      UserError: it is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise UserError(
            "ONNX needs the package onnx: pip install -e '.[onnx]', or pip install onnx onnxruntime"
        ) from None
    return onnx


class _Graph:
    """Nodes, and the arrays that they use, in the order of the program."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.initializers: dict[str, np.ndarray] = {}
        self._num_names = 0
        # Arrays that have a name: by identity, since an array that is known may be a parameter.
        self._names: dict[int, tuple[np.ndarray, str]] = {}
        self.batch: Any = None
        self._batch_source = ""

    def write(self, name: str, function: Function, model: Trained) -> bytes:
        """Return the content of the file of one function."""
        (self.batch,) = jax.export.symbolic_shape(_BATCH)
        specs = function.specs(self.batch)
        traced = jax.jit(function.call).trace(model.params, model.extra, *specs)
        program = traced.jaxpr
        named = model.named_arrays
        for key, array in named.items():
            self._names[id(array)] = (array, key)
        names = list(function.inputs)
        self._batch_source = names[0]
        outputs = self._inline(program, [*named.values(), *names])
        # A dict's values are in the order of its sorted names.
        for value, output in zip(outputs, sorted(function.meanings), strict=True):
            self.add("Identity", [value], output=output)
        return self._serialize(name, function, traced.out_info)

    def _serialize(self, name: str, function: Function, out_info: Any) -> bytes:
        helper = self.onnx.helper
        nodes = self._needed([*function.meanings])
        used = {given for node in nodes for given in node.input}

        def described(key: str, shape: Sequence[Any], dtype: Any, meaning: str) -> Any:
            dims = [_BATCH, *(int(size) for size in shape[1:])]
            info = helper.make_tensor_value_info(key, self.type_of(dtype), dims)
            info.doc_string = meaning
            return info

        graph = helper.make_graph(
            nodes,
            name,
            [
                described(key, (_BATCH, *given.shape), given.dtype, given.meaning)
                for key, given in function.inputs.items()
            ],
            [
                described(key, out_info[key].shape, out_info[key].dtype, meaning)
                for key, meaning in function.meanings.items()
            ],
            [
                self.onnx.numpy_helper.from_array(array, key)
                for key, array in self.initializers.items()
                if key in used
            ],
        )
        model = helper.make_model(
            graph,
            producer_name="vae_jax",
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
        )
        self.onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString()
        return content

    def _needed(self, outputs: Sequence[str]) -> list[Any]:
        """Return the nodes that the outputs depend on."""
        wanted, kept = set(outputs), []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                wanted |= set(node.input)
                kept.append(node)
        return kept[::-1]

    def type_of(self, dtype: Any) -> int:
        """Return the number of a type in ONNX.

        Raises:
          _Unwritten: ONNX Runtime does not compute in it on the CPU.
        """
        name = np.dtype(dtype).name
        if name not in ("float32", "int32", "int64", "bool"):
            raise _Unwritten(f"it computes in {name}")
        number: int = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return number

    def name_of(self, value: Value) -> str:
        """Return the name of a value; a known array becomes an initializer."""
        if isinstance(value, str):
            return value
        self.type_of(value.dtype)
        if id(value) not in self._names:
            self._names[id(value)] = (value, self._new_name("constant"))
        name = self._names[id(value)][1]
        self.initializers[name] = value
        return name

    def _new_name(self, stem: str) -> str:
        self._num_names += 1
        return f"{stem}_{self._num_names}"

    def add(
        self, kind: str, inputs: Sequence[Value], *, output: str = "", **attributes: Any
    ) -> str:
        """Add a node with one output, and return the output's name."""
        name = output or self._new_name(kind.lower())
        names = [self.name_of(value) for value in inputs]
        self.nodes.append(self.onnx.helper.make_node(kind, names, [name], **attributes))
        return name

    def shape(self, dims: Sequence[Any]) -> Value:
        """Return a shape as a value, computed from that of an input if it has the batch size.

        Raises:
          _Unwritten: a size is no multiple of the batch size.
        """
        if all(isinstance(size, int) for size in dims):
            return np.array(dims, np.int64)
        batch = self.add("Shape", [self._batch_source], start=0, end=1)
        parts: list[Value] = []
        for size in dims:
            factor = size if isinstance(size, int) else size // self.batch
            if not isinstance(size, int) and size != factor * self.batch:
                raise _Unwritten(f"an axis has length {size}")
            array = np.array([int(factor)], np.int64)
            parts.append(array if isinstance(size, int) else self.add("Mul", [batch, array]))
        return self.add("Concat", parts, axis=0)

    def reshape(self, value: Value, dims: Sequence[Any]) -> Value:
        """Return a value in another shape."""
        free = [not isinstance(size, int) for size in dims]
        if isinstance(value, np.ndarray) and not any(free):
            return value.reshape([int(size) for size in dims])
        if sum(free) > 1:
            return self.add("Reshape", [value, self.shape(dims)])
        sizes = [-1 if is_free else size for size, is_free in zip(dims, free, strict=True)]
        return self.add("Reshape", [value, np.array(sizes, np.int64)])

    def transpose(self, value: Value, axes: Sequence[int]) -> Value:
        """Return a value with its axes in another order."""
        if list(axes) == list(range(len(axes))):
            return value
        if isinstance(value, np.ndarray):
            return np.ascontiguousarray(value.transpose(axes))
        return self.add("Transpose", [value], perm=list(axes))

    def _inline(self, program: Any, values: Sequence[Value]) -> list[Value]:
        """Add the nodes of a program to the graph, and return the values of its outputs."""
        jaxpr, constants = program, []
        if isinstance(program, core.ClosedJaxpr):
            jaxpr, constants = program.jaxpr, [np.asarray(value) for value in program.consts]
        known: dict[Any, Value] = dict(
            zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *values], strict=True)
        )

        def read(atom: Any) -> Value:
            # What has no values has none in the graph either.
            if not _has_values(atom):
                return np.zeros(0, atom.aval.dtype)
            return np.asarray(atom.val) if isinstance(atom, core.Literal) else known[atom]

        for equation in _needed_equations(jaxpr):
            results = self._apply(equation, [read(atom) for atom in equation.invars])
            known.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _apply(self, equation: Any, values: list[Value]) -> list[Value]:
        name, params = equation.primitive.name, equation.params
        if name == "platform_index":
            # The form of accelerators, in which a convolution is one operation.
            platforms = list(params["platforms"])
            return [np.array(platforms.index(None), np.int32)]
        if name == "cond" and isinstance(values[0], np.ndarray):
            return self._inline(params["branches"][int(values[0])], values[1:])
        if name in _CALLS:
            return self._inline(params[_CALLS[name]], values)
        arrays = [value for value in values if isinstance(value, np.ndarray)]
        sizes = [size for out in equation.outvars for size in out.aval.shape]
        if len(arrays) == len(values) and all(isinstance(size, int) for size in sizes):
            results = equation.primitive.bind(*arrays, **params)
            results = results if equation.primitive.multiple_results else [results]
            return [np.asarray(result) for result in results]
        if name in _ELEMENTWISE:
            return [self.add(_ELEMENTWISE[name], values)]
        if name not in _RULES:
            raise _Unwritten(f"it has the operation {name}")
        result = _RULES[name](self, equation, values)
        return result if isinstance(result, list) else [result]


def _has_values(atom: Any) -> bool:
    """Return False for an array with an axis of length 0; padding by nothing makes such."""
    return all(not isinstance(size, int) or size > 0 for size in atom.aval.shape)


def _needed_equations(jaxpr: Any) -> list[Any]:
    """Return the equations that the outputs depend on by values."""
    wanted = {atom for atom in jaxpr.outvars if not isinstance(atom, core.Literal)}
    kept = []
    for equation in reversed(jaxpr.eqns):
        if wanted & set(equation.outvars):
            wanted |= {
                atom
                for atom in equation.invars
                if not isinstance(atom, core.Literal) and _has_values(atom)
            }
            kept.append(equation)
    return kept[::-1]


# Operations that call a program, and the parameter that it is.
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}

_ELEMENTWISE = {
    "abs": "Abs",
    "add": "Add",
    "and": "And",
    "ceil": "Ceil",
    "copy": "Identity",
    "cos": "Cos",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "not": "Not",
    "or": "Or",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tanh": "Tanh",
}

_Rule = Callable[[_Graph, Any, list[Value]], Value | list[Value]]
_RULES: dict[str, _Rule] = {}


def _rule(*names: str) -> Callable[[_Rule], _Rule]:
    def register(function: _Rule) -> _Rule:
        _RULES.update(dict.fromkeys(names, function))
        return function

    return register


def _one(equation: Any) -> np.ndarray:
    return np.ones((), equation.invars[0].aval.dtype)


@_rule("log1p")
def _log1p(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    return graph.add("Log", [graph.add("Add", [values[0], _one(equation)])])


@_rule("expm1")
def _expm1(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    return graph.add("Sub", [graph.add("Exp", values), _one(equation)])


@_rule("rsqrt")
def _rsqrt(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    return graph.add("Reciprocal", [graph.add("Sqrt", values)])


@_rule("square")
def _square(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    return graph.add("Mul", values * 2)


@_rule("integer_pow")
def _integer_pow(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    exponent = np.array(equation.params["y"], equation.invars[0].aval.dtype)
    return graph.add("Pow", [values[0], exponent])


@_rule("round")
def _round(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    if equation.params["rounding_method"] != jax.lax.RoundingMethod.TO_NEAREST_EVEN:
        raise _Unwritten("it rounds half away from zero")
    return graph.add("Round", values)


@_rule("ne")
def _ne(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    return graph.add("Not", [graph.add("Equal", values)])


@_rule("is_finite")
def _is_finite(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    either = graph.add("Or", [graph.add("IsNaN", values), graph.add("IsInf", values)])
    return graph.add("Not", [either])


@_rule("select_n")
def _select_n(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    which, *cases = values
    if len(cases) != 2 or equation.invars[0].aval.dtype != np.bool_:
        raise _Unwritten(f"it selects among {len(cases)} values")
    return graph.add("Where", [which, cases[1], cases[0]])


@_rule("clamp")
def _clamp(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    least, value, most = values
    return graph.add("Min", [graph.add("Max", [value, least]), most])


@_rule("convert_element_type")
def _convert(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    return graph.add("Cast", values, to=graph.type_of(equation.params["new_dtype"]))


@_rule("stop_gradient", "optimization_barrier")
def _same(graph: _Graph, equation: Any, values: list[Value]) -> list[Value]:
    return values


@_rule("reshape", "squeeze", "expand_dims")
def _reshape(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    return graph.reshape(values[0], equation.outvars[0].aval.shape)


@_rule("transpose")
def _transpose(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    return graph.transpose(values[0], equation.params["permutation"])


@_rule("broadcast_in_dim")
def _broadcast(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    given, wanted = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    dims: list[Any] = [1] * len(wanted)
    for axis, size in zip(equation.params["broadcast_dimensions"], given, strict=True):
        dims[axis] = size
    value = values[0] if list(given) == dims else graph.reshape(values[0], dims)
    return value if dims == list(wanted) else graph.add("Expand", [value, graph.shape(wanted)])


@_rule("concatenate")
def _concatenate(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    parts = [
        value for value, atom in zip(values, equation.invars, strict=True) if _has_values(atom)
    ]
    return graph.add("Concat", parts, axis=equation.params["dimension"])


@_rule("stack")
def _stack(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    axis = equation.params["axis"]
    at = np.array([axis], np.int64)
    return graph.add("Concat", [graph.add("Unsqueeze", [v, at]) for v in values], axis=axis)


@_rule("split")
def _split(graph: _Graph, equation: Any, values: list[Value]) -> list[Value]:
    found: list[Value] = []
    axis, start = equation.params["axis"], 0
    for size in equation.params["sizes"]:
        bounds = [np.array([number], np.int64) for number in (start, start + size, axis)]
        found.append(graph.add("Slice", [values[0], *bounds]))
        start += size
    return found


@_rule("slice")
def _slice(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    params, dims = equation.params, equation.invars[0].aval.shape
    starts, limits = params["start_indices"], params["limit_indices"]
    return _part(graph, values[0], dims, starts, limits, params["strides"])


def _part(
    graph: _Graph,
    value: Value,
    dims: Sequence[Any],
    starts: Sequence[Any],
    limits: Sequence[Any],
    strides: Sequence[int] | None = None,
) -> Value:
    """Return value[start:limit:stride] of each axis."""
    rows = [
        row
        for row in zip(starts, limits, range(len(dims)), strides or [1] * len(dims), strict=True)
        if (row[0], row[1], row[3]) != (0, dims[row[2]], 1)
    ]
    if not all(isinstance(number, int) for row in rows for number in row):
        raise _Unwritten("it takes a part of the batch")
    if not rows:
        return value
    return graph.add("Slice", [value, *(np.array(c, np.int64) for c in zip(*rows, strict=True))])


@_rule("pad")
def _pad(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    low, high, interior = zip(*equation.params["padding_config"], strict=True)
    if any(interior) or min(*low, *high) < 0:
        raise _Unwritten("it pads between values or by a negative number")
    return graph.add("Pad", [values[0], np.array([*low, *high], np.int64), values[1]])


@_rule("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")
def _reduce(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    kind = {"sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin", "prod": "ReduceProd"}
    axes = np.array(equation.params["axes"], np.int64)
    name = kind[equation.primitive.name.removeprefix("reduce_")]
    return graph.add(name, [values[0], axes], keepdims=0)


@_rule("argmax", "argmin")
def _argument(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    kind = {"argmax": "ArgMax", "argmin": "ArgMin"}[equation.primitive.name]
    (axis,) = equation.params["axes"]
    found = graph.add(kind, values, axis=axis, keepdims=0)
    return graph.add("Cast", [found], to=graph.type_of(equation.params["index_dtype"]))


@_rule("gather")
def _gather(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    dims, indices = (atom.aval.shape for atom in equation.invars)
    start = values[1]
    if isinstance(start, np.ndarray) and start.ndim == 1 and not numbers.collapsed_slice_dims:
        # JAX writes images[:, :height, :width] so if the batch size is free.
        starts = [0] * len(dims)
        for axis, number in zip(numbers.start_index_map, start, strict=True):
            starts[axis] = int(number)
        limits = [first + size for first, size in zip(starts, sizes, strict=True)]
        return _part(graph, values[0], dims, starts, limits)
    if len(numbers.start_index_map) == 1 and not numbers.operand_batching_dims:
        (axis,) = numbers.start_index_map
        kept = [*range(axis), *range(axis + len(indices) - 1, len(dims) + len(indices) - 2)]
        whole = (*dims[:axis], 1, *dims[axis + 1 :])
        written = (numbers.collapsed_slice_dims, list(numbers.offset_dims), tuple(sizes))
        if written == ((axis,), kept, whole):
            places = graph.reshape(start, indices[:-1])
            return graph.add("Gather", [values[0], places], axis=axis)
    raise _Unwritten("it gathers along several axes")


@_rule("dot_general")
def _dot_general(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    contracted, batched = equation.params["dimension_numbers"]
    left, right = (len(atom.aval.shape) for atom in equation.invars)
    if not batched[0] and contracted == ((left - 1,), (0,)) and right == 2:
        return graph.add("MatMul", values)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    names = [[""] * left, [""] * right]
    for pair in (batched, contracted):
        for first, second in zip(*pair, strict=True):
            names[0][first] = names[1][second] = next(letters)
    free = [[i for i, name in enumerate(side) if not name] for side in names]
    for side, axes in zip(names, free, strict=True):
        for axis in axes:
            side[axis] = next(letters)
    out = [names[0][axis] for axis in batched[0]]
    out += [side[axis] for side, axes in zip(names, free, strict=True) for axis in axes]
    written = f"{''.join(names[0])},{''.join(names[1])}->{''.join(out)}"
    return graph.add("Einsum", values, equation=written)


@_rule("conv_general_dilated")
def _convolution(graph: _Graph, equation: Any, values: list[Value]) -> Value:
    params = equation.params
    layout, pads = params["dimension_numbers"], params["padding"]
    images = graph.transpose(values[0], layout.lhs_spec)
    kernel = graph.transpose(values[1], layout.rhs_spec)
    sides = [equation.invars[1].aval.shape[axis] for axis in layout.rhs_spec[2:]]
    dilated = any(factor != 1 for factor in params["lhs_dilation"])
    if params["batch_group_count"] != 1:
        raise _Unwritten("its convolution has groups of the batch")
    if not dilated:
        out = graph.add(
            "Conv",
            [images, kernel],
            strides=list(params["window_strides"]),
            dilations=list(params["rhs_dilation"]),
            group=params["feature_group_count"],
            pads=[pair[0] for pair in pads] + [pair[1] for pair in pads],
        )
    else:
        plain = (*params["window_strides"], *params["rhs_dilation"], params["feature_group_count"])
        cropped = [
            [side - 1 - pair[end] for side, pair in zip(sides, pads, strict=True)] for end in (0, 1)
        ]
        if set(plain) != {1} or min(*cropped[0], *cropped[1]) < 0:
            raise _Unwritten("its transposed convolution has strides, groups or wide padding")
        if isinstance(kernel, str):
            raise _Unwritten("the kernel of a transposed convolution is computed")
        # ONNX has the kernel of the convolution that is transposed.
        flipped = np.ascontiguousarray(np.flip(kernel.swapaxes(0, 1), tuple(range(2, kernel.ndim))))
        out = graph.add(
            "ConvTranspose",
            [images, flipped],
            strides=list(params["lhs_dilation"]),
            pads=[*cropped[0], *cropped[1]],
        )
    return graph.transpose(out, np.argsort(layout.out_spec).tolist())
