"""The German and English words by which ``routing.rules`` knows messages."""

from __future__ import annotations

from typing import Final


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


OPENERS: Final = _set("""
    hi hello hey hallo moin servus grüezi guten good thanks thank thx danke dankeschön
    merci bye goodbye tschüss ciao ok okay ja nein yes no super prima toll great nice
    cool perfect perfekt vielen alles
""")
"""With these begins what may be nothing but a greeting, thanks or assent."""
GREETINGS: Final = OPENERS | _set("""
    tag morgen abend nacht morning evening afternoon night klar wie gehts geht es dir
    you there again schön lieben dank da und and so much how are is it going bitte gut
    good
""")
"""Of these alone it may be made."""
ASKING: Final = _set("""
    who what when where which whose how is are was were does do did can could wer wann
    wo welche welcher welches wie wieviel wessen wohin woher ist sind war kann gibt hat
""")
CODE: Final = _set("""
    code function funktion python javascript typescript rust golang java kotlin sql
    regex bash shell script skript html css django api json yaml docker kubernetes git
    compile compiler kompiliert exception stacktrace traceback unittest pytest bug
    refactor refactoring debug debugging algorithm algorithmus datenbank database
    programm programmiere implement implementiere
""")
HARD_CODE: Final = _set("""
    refactor refactoring architecture architektur concurrency deadlock race
    nebenläufigkeit optimise optimize optimiere performance security sicherheit migrate
    migration debug debugging algorithm algorithmus
""")
MILD_ANALYSIS: Final = _set("""
    explain why erkläre warum weshalb reason compare vergleiche plan plane
""")
"""Alone they ask for an explanation, not for an analysis."""
ANALYSIS: Final = MILD_ANALYSIS | _set("""
    analyse analyze analysiere analysis prove proof beweise beweis derive herleite
    herleitung strategy strategie tradeoff tradeoffs abwägung abwägen bewerte evaluate
    evaluation assess beurteile contract vertrag legal rechtlich diagnose diagnosis
    hypothesis hypothese theorem research recherchiere forschung critique kritik
    architecture architektur roadmap implications konsequenzen begründe
""")
WRITING: Final = _set("""
    write schreib schreibe draft entwurf entwirf essay aufsatz letter brief email mail
    poem gedicht story geschichte speech rede blog article artikel bewerbung application
    formuliere verfasse compose
""")
REWORDING: Final = _set("""
    translate übersetze übersetz übersetzung translation summarise summarize summary
    zusammenfassung zusammenfassen fasse rephrase umformulieren proofread korrigiere
    rechtschreibung grammar grammatik spelling shorten kürze kürzer list liste
    stichpunkte bullet bullets
""")
PHRASES: Final = (
    "step by step",
    "schritt für schritt",
    "in depth",
    "im detail",
    "pros and cons",
    "vor- und nachteile",
    "root cause",
    "think hard",
    "denk gründlich",
)
"""Each counts as a word of analysis."""
