"""What keeps a backup or a restore from being done; each text is one sentence."""

from __future__ import annotations


class CareError(Exception):
    """Nothing was done; the text is for the person who asked for it."""


class BackupFailed(CareError):
    """No backup could be written."""


class BadArchive(CareError):
    """A file is no backup that can be restored."""


class RestoreRefused(CareError):
    """A backup does not fit this installation, or there is something already."""


class StillRunning(CareError):
    """Cortex runs and must not."""


class NotPutBack(CareError):
    """A restore failed, and so did putting back what was there."""
