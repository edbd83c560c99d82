"""Recall by meaning in the worker: a sentence model, vectors, and who is asked."""
