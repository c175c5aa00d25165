"""One form for texts that mean the same: letter case, width, accents' encoding and white space do not count."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def normalised(text: str | None, max_characters: int | None = None) -> str | None:
    r"""The text in Unicode's NFKC form, case-folded, its white space and control characters each run one space.

    Args:
        text: any text, or none.
        max_characters: of the result; what comes after them is cut off.

    Returns:
        The normalised text, which normalises to itself; None when nothing in it can be seen.

    >>> normalised("  Ｓtraße\t ÜBER\n")
    'strasse über'
    >>> normalised("\u200b  ") is None
    True
    """
    if text is None:
        return None
    # Folding can undo the composition and the other way round: Unicode's own caseless matching (D146) repeats them.
    folded = unicodedata.normalize(
        "NFKC", unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold()).casefold()
    )
    spaced = "".join(" " if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in folded)
    cut = " ".join(" ".join(spaced.split())[:max_characters].split())
    return cut if any(unicodedata.category(letter)[0] not in "CZ" for letter in cut) else None


def normalised_tags(tags: Iterable[str | None] | None) -> list[str]:
    """The tags of a video, normalised, in the creator's order; blank ones and repetitions are left out."""
    found = (normalised(tag) for tag in tags or ())
    return list(dict.fromkeys(tag for tag in found if tag is not None))
