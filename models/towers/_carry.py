"""Begin a training where another ended: its weights, with the rows of its tables moved to where their values are now (M8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from models._vocabulary import RESERVED
from models.features import FeatureSpec
from schemas.errors import ReelflowError

Axes: TypeAlias = tuple[tuple[str, ...], ...]
"""For each axis of a table: the features whose codes its rows are, one after the other."""


def prefixed(prefix: str, tables: Mapping[str, Axes]) -> dict[str, Axes]:
    """Tables of a part by their names in the whole."""
    return {f"{prefix}.{name}": axes for name, axes in tables.items()}


def carry(
    module: nn.Module, tables: Mapping[str, Axes], spec: FeatureSpec, before: nn.Module, spec_before: FeatureSpec
) -> None:
    """Give ``module`` the weights of another; values that the other did not know keep what they have.

    Args:
        module: with codes of ``spec``.
        tables: its weights whose rows are codes, by name.
        spec: knows every value that ``spec_before`` knows.
        before: the other, of the same shape but for its vocabularies.
        spec_before: its features.

    Raises:
        ReelflowError: it has other weights or other widths.
    """
    own, theirs = module.state_dict(), before.state_dict()
    if own.keys() != theirs.keys():
        raise _other_shape(sorted(own.keys() ^ theirs.keys())[0])
    for name, value in own.items():
        axes = tables.get(name, ())
        found = theirs[name]
        if value.shape[len(axes) :] != found.shape[len(axes) :]:
            raise _other_shape(name)
        if not axes:
            value.copy_(found)
            continue
        pairs = [_rows(features, spec, spec_before) for features in axes]
        value[torch.meshgrid(*(new for new, _ in pairs), indexing="ij")] = found[
            torch.meshgrid(*(old for _, old in pairs), indexing="ij")
        ]


def _rows(features: tuple[str, ...], spec: FeatureSpec, before: FeatureSpec) -> tuple[Tensor, Tensor]:
    """Rows of the same values: in a table of ``spec`` and in one of ``before``."""
    sizes, sizes_before = (found.coded("user", "context", "video") for found in (spec, before))
    new, old, offset, offset_before = [], [], 0, 0
    for name in features:
        codes = torch.arange(sizes_before[name])
        if name in before.vocabularies:
            moved = torch.from_numpy(spec.vocabularies[name].encode(before.vocabularies[name].values))
            new.append(offset + torch.cat((codes[:RESERVED], moved)))
        else:
            new.append(offset + codes)
        old.append(offset_before + codes)
        offset, offset_before = offset + sizes[name], offset_before + sizes_before[name]
    return torch.cat(new), torch.cat(old)


def _other_shape(name: str) -> ReelflowError:
    return ReelflowError(
        f"towers: the model to begin with has another {name}; expected one of the same features and widths; train in full"
    )
