"""Dataclasses as pytrees whose structures are told apart by class."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any, TypeVar

import jax

T = TypeVar("T")

# A field that is part of the structure, and no leaf.
static_field = functools.partial(dataclasses.field, metadata={"static": True})


def register_pytree(cls: type[T]) -> type[T]:
    """Register a dataclass as a pytree: its fields are children, those of `static_field` aside.

    `jax.tree_util.register_dataclass` does not compare classes (JAX 0.10 to 0.12): `Laplace` and
    `Normal` would have equal structures with unequal hashes, and `jax.jit` would now and then run
    the program that it traced for one on the other.
    """
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    static = tuple(field.name for field in fields if field.metadata.get("static", False))
    dynamic = tuple(field.name for field in fields if field.name not in static)

    def flatten(value: T) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        children = tuple(getattr(value, name) for name in dynamic)
        return children, tuple(getattr(value, name) for name in static)

    def flatten_with_keys(value: T) -> tuple[Iterable[tuple[Any, Any]], tuple[Any, ...]]:
        children, statics = flatten(value)
        return zip(map(jax.tree_util.GetAttrKey, dynamic), children, strict=True), statics

    def unflatten(statics: tuple[Any, ...], children: Iterable[Any]) -> T:
        fields = zip((*dynamic, *static), (*children, *statics), strict=True)
        return cls(**dict(fields))

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls
