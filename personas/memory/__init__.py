"""A persona's memory: the lines of its files, distillation, review, wishes."""
