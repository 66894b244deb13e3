"""Which endpoints a key belongs to: a function of the key and the membership, nothing else.

So any number of gateways agree without talking, before and after a restart, in every process and
version (`tests/core/golden/candidates.json`). Both mappings give the key's owners in an order that
is the same everywhere; both move a key only to or from an endpoint that came or went.
"""

from cardan.candidates.rendezvous import Rendezvous
from cardan.candidates.rings import Rings

__all__ = ["AnyMapping", "Rendezvous", "Rings"]

AnyMapping = Rendezvous | Rings
"""What a configuration's `mapping` may say."""
