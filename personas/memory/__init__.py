"""A persona's memory: the lines of its files, distillation, review, wishes."""

from personas.memory.files import settings_of as settings_of
