"""Token estimates for text whose tokenizer is not known."""

from __future__ import annotations

BYTES_PER_TOKEN = 4
MESSAGE_OVERHEAD_TOKENS = 4
"""What a chat template adds around one message."""


def estimate_tokens(text: str) -> int:
    """Return about how many tokens ``text`` has: a quarter of its UTF-8 bytes.

    English and code come to about four characters a token; scripts with longer
    encodings also need more tokens a character, which bytes reflect.
    """
    return tokens_of_bytes(len(text.encode(errors="replace")))


def tokens_of_bytes(count: int) -> int:
    """Return the estimate for a text of ``count`` UTF-8 bytes, rounded up."""
    return -(-count // BYTES_PER_TOKEN)
