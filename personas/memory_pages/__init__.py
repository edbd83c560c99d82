"""The pages about a persona's memory: its lines, what waits for review, what was done.

Everything works without JavaScript; with it, htmx brings the same pages without a
reload. What was changed elsewhere meanwhile is never overwritten: the page comes back
with a sentence, the memory as it is now and all that was typed (status 409).
"""
