"""What a caller of the dispatcher or of ``routing.net`` can be told.

Errors of back ends stay in ``routing.backends.base``; this module holds the form in
which every failure reaches people, and the errors that arise before a back end is
called. ``str()`` of each is one safe sentence.

Tree::

    RoutingError          no_model, private_only, bad_request   no call is possible
     └─ EverybodyRests    too_many, upstream_unavailable        not at this moment
    NetError
     ├─ BadAddress        the address itself is unusable
     ├─ BlockedAddress    it leads to a private network
     ├─ Unreachable       refused, no such name; nothing was sent
     │   └─ BadCertificate  its certificate cannot be trusted; nothing was sent
     ├─ CutOff            the connection broke after the request was sent
     ├─ TookTooLong       a time limit passed
     │   └─ NotAccepted   no connection came about in time; nothing was sent
     └─ TooLarge          the answer exceeds the limit
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """A failure as people see it: machine code, one sentence, worth another try?"""

    code: str
    message: str
    retryable: bool = False


class RoutingError(Exception):
    """No call can be made; ``code`` is no_model, private_only or bad_request."""

    retryable = False

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def info(self) -> ErrorInfo:
        """Return the form that people see."""
        return ErrorInfo(self.code, str(self), self.retryable)


class EverybodyRests(RoutingError):
    """All hosts that could answer cool down or have failed too often just now."""

    retryable = True


class NetError(Exception):
    """An outgoing request failed."""

    sentence = "The request failed."

    def __init__(self, sentence: str = "") -> None:
        super().__init__(sentence or self.sentence)


class BadAddress(NetError):
    """The address is no plain http(s) URL."""

    sentence = "This is not a usable address."


class BlockedAddress(NetError):
    """The address leads to a private network and no administrator listed its origin."""

    sentence = (
        "This address leads to a private network; only an administrator can allow it."
    )


class Unreachable(NetError):
    """No connection came about; the request was not sent."""

    sentence = "The host cannot be reached."


class BadCertificate(Unreachable):
    """The host's certificate cannot be trusted; ``why`` in the words of OpenSSL."""

    sentence = "The host's certificate is not valid."

    def __init__(self, sentence: str = "", *, why: str = "") -> None:
        super().__init__(sentence)
        self.why = why


class CutOff(NetError):
    """The connection broke after the request had been sent."""

    sentence = "The host cut the connection."


class TookTooLong(NetError):
    """A time limit passed."""

    sentence = "The host did not answer in time."


class NotAccepted(TookTooLong):
    """No connection came about in time; the request was not sent."""

    sentence = "The host did not accept the connection in time."


class TooLarge(NetError):
    """The answer is larger than allowed."""

    sentence = "The host's answer is too large."
