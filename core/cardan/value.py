"""What is made for every request and then only read.

A request makes a dozen such values. As plain classes with slots each costs 0.13 µs and more, which
is mostly the call of an `__init__`; as msgspec structs, which are filled in C, 0.06 µs (CPython
3.13). Reading is the same. Writing is dearer (15 ns against 2), so what changes on the way
(leases, exchanges, flights) are plain classes.

They are compared by identity. The collector does not look at them (`gc=False`): nothing that one
refers to may refer back to it.
"""

from __future__ import annotations

import msgspec


class Value(msgspec.Struct, eq=False, gc=False):
    """Base of such values: fields in the order in which they are given."""
