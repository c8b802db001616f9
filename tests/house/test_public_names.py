"""What the package promises to the outside."""

from __future__ import annotations

import inspect

import micscreen


def test_every_public_name_is_there_and_documented() -> None:
    """Each name in `__all__` can be loaded, and functions and classes carry a docstring."""
    for name in micscreen.__all__:
        value = getattr(micscreen, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert (value.__doc__ or "").strip(), name


def test_the_lazy_table_and_the_public_list_agree() -> None:
    """No name can be loaded that is not promised, and none is promised that cannot be loaded."""
    assert set(micscreen._HOMES) <= set(micscreen.__all__)
    assert sorted(micscreen.__all__, key=str) == sorted(set(micscreen.__all__), key=str)
