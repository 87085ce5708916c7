"""Count what a compiled program sends between devices, from its HLO."""

import math
import re
from typing import NamedTuple

# An instruction such as `%all-reduce.1 = (f32[64]{0}, f32[]) all-reduce(...)`, or one of the pair
# `-start` and `-done` that accelerators make of it, whose start holds operands beside results.
_INSTRUCTION = re.compile(
    r"= (?P<shape>\([^=]*?\)|\S+) "
    r"(?P<kind>all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|"
    r"reduce-scatter|ragged-all-to-all)(?P<start>-start)?\("
)
_ARRAY = re.compile(r"\b(?P<type>pred|[a-z]+?(?P<bits>\d+))\[(?P<sizes>[\d,]*)\]")


class Collective(NamedTuple):
    """One operation between devices.

    Attributes:
      kind: such as "all-reduce".
      sizes: elements of each array that it moves.
      bytes: of all of them.
    """

    kind: str
    sizes: list[int]
    bytes: int


def collectives(hlo: str) -> list[Collective]:
    """Return the operations between devices in a compiled program's text, loop bodies once each."""
    found = []
    # Long tuples have their indices in comments, with a sign that the pattern looks for.
    for match in _INSTRUCTION.finditer(re.sub(r"/\*.*?\*/", "", hlo)):
        sizes, num_bytes = [], 0
        for array in _ARRAY.finditer(match["shape"]):
            sizes.append(math.prod(int(size) for size in array["sizes"].split(",") if size))
            num_bytes += sizes[-1] * -(-int(array["bits"] or 8) // 8)
        found.append(Collective(match["kind"], sizes, num_bytes))
    return found
