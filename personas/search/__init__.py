"""Search over one's conversations and memory, by words and by meaning."""
