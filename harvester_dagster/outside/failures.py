"""How a call to the outside can fail. The kind is decided here and in this folder, once; nobody sorts it again.

    OutsideError                 code, sentence, the hops that were made
    ├── TransientError           may work later: 5xx, 408, 429, time-outs, cuts; `retry_after` when the host said so
    │   └── StorageError         our own disk or bucket is at fault, not who was called
    └── PermanentError           will not work for this URL: other 4xx, loops, content beyond the limits
        └── RefusedError         we do not call it: not a web address, or an address that is not public

Belongs here: kinds, codes and their sentences. Does not belong here: when to try again (the caller knows its patience).
"""

from typing import NamedTuple


class Hop(NamedTuple):
    """One redirect: what answered with it, and where it was asked."""

    status: int
    url: str


class OutsideError(Exception):
    """`code` is for machines ("dns", "timeout", "status-503"), the sentence for people; neither holds a secret."""

    def __init__(self, code: str, sentence: str, *, status: int | None = None) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.status = status
        self.hops: tuple[Hop, ...] = ()


class TransientError(OutsideError):
    def __init__(
        self, code: str, sentence: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(code, sentence, status=status)
        self.retry_after = retry_after
        """Seconds that the host asked us to stay away."""


class StorageError(TransientError):
    pass


class PermanentError(OutsideError):
    pass


class RefusedError(PermanentError):
    pass
