"""A stored factorization without one of its users."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.ids import UNKNOWN, IdMap

_USERS, _FACTORS = "users.npy", "user_factors.npy"


def forget_user(directory: Path, user_id: int) -> bool:
    """Take a user's id and vector out of the model in a directory; all other arrays stay as they are.

    Files are replaced, never written in place: they may be linked from elsewhere.

    Args:
        directory: that ``FittedWals.save`` wrote.
        user_id: the user.

    Returns:
        Whether the model knew the user.

    Raises:
        ReelflowError: the ids cannot be read.
    """
    users = IdMap.load(directory / _USERS)
    (place,) = users.lookup(np.array([user_id])).tolist()
    if place == UNKNOWN:
        return False
    factors = np.delete(np.load(directory / _FACTORS, allow_pickle=False), place, axis=0)
    for name, array in ((_USERS, np.delete(users.ids, place)), (_FACTORS, factors)):
        (directory / name).unlink()
        with (directory / name).open("wb") as stream:
            np.save(stream, array, allow_pickle=False)
    return True
