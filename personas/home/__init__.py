"""Personas as folders of files: the old tree read and written, sessions, safe names."""
