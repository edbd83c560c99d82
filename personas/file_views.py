"""The pages of a persona's files: editor, history, differences, restoring.

Two people, or one person on two devices, may edit the same file: the editor carries the
revision it was opened at, and a save that would overwrite a newer one comes back with
both texts (status 409) instead.
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts.requests import AuthenticatedHttpRequest
from personas import files
from personas.context import persona_material
from personas.diffs import diff
from personas.errors import EditConflict, FileRefused
from personas.files import IDENTITY, MEMORY_FILES, SOUL, STANDARD_FILES, USER
from personas.forms import FileForm, NewFileForm
from personas.models import FileRevision, Persona, PersonaFile
from personas.personas import get_persona_for_user
from personas.prompts import compose
from routing.tokens import BYTES_PER_TOKEN, estimate_tokens

REVISIONS_PER_PAGE = 50
UNLIMITED_TOKENS = 10_000_000
"""A budget that nothing exceeds, to measure the whole of a persona's instructions."""

_TABS = {IDENTITY: "identity", SOUL: "soul", USER: "user"} | dict.fromkeys(
    MEMORY_FILES, "memory"
)
_LABELS = {
    IDENTITY: "Identity",
    SOUL: "Soul",
    USER: "About you",
    MEMORY_FILES[0]: "Short memory",
    MEMORY_FILES[1]: "Mid memory",
    MEMORY_FILES[2]: "Long memory",
}
_HINTS = {
    IDENTITY: "Who it is, in a few lines. Always part of the prompt, so keep it short.",
    SOUL: "How it thinks, speaks and feels. Part of the prompt from context tier 2.",
    USER: "What it should know about you. Part of the prompt from context tier 2.",
    MEMORY_FILES[0]: "What happened lately, newest at the end. From context tier 2.",
    MEMORY_FILES[1]: "What mattered in the last weeks. From context tier 2.",
    MEMORY_FILES[2]: "What lasts. From context tier 3.",
    files.TASKS: "Its open tasks, as JSON. Not part of the prompt.",
}
_FREE_HINT = "Part of the prompt at context tier 3, after everything else."
_FREE_JSON_HINT = "Kept with the persona. Not part of the prompt."


def _page_of(file: PersonaFile, **more: Any) -> dict[str, Any]:
    """Return what all pages of one file show."""
    return {
        "persona": file.persona,
        "file": file,
        "label": _LABELS.get(file.name, file.name),
        "tab": _TABS.get(file.name, "other"),
        "memory_files": [(name, _LABELS[name]) for name in MEMORY_FILES],
        "is_free": file.name not in STANDARD_FILES,
        "is_gone": file.pk is None and file.name not in STANDARD_FILES,
        **more,
    }


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def file_list(request: AuthenticatedHttpRequest, name: str) -> HttpResponse:
    """List the files that have no tab of their own, and on POST add one."""
    persona = get_persona_for_user(request.user, name)
    form = NewFileForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            file = files.add_file(
                persona, form.cleaned_data["name"], author=request.user
            )
        except FileRefused as error:
            form.add_error("name", str(error))
        else:
            return redirect("persona_file", persona.name, file.name)
    context = {
        "persona": persona,
        "files": [
            file
            for file in files.files_of(persona).values()
            if _TABS.get(file.name) is None
        ],
        "form": form,
        "tab": "other",
    }
    status = 400 if form.errors else 200
    return render(request, "personas/files.html", context, status=status)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def file_edit(
    request: AuthenticatedHttpRequest, name: str, file_name: str
) -> HttpResponse:
    """Show a file in the editor, and on POST save it.

    A text for a free file that was deleted meanwhile comes back (status 409), and
    saving it once more makes the file again.
    """
    persona = get_persona_for_user(request.user, name)
    if request.method == "POST":
        return _save(request, _file_or_new(request, persona, file_name))
    file = files.get_file(persona, file_name)
    form = FileForm(
        initial={
            "text": file.text,
            "private": file.private,
            "expected_revision": file.revision,
        }
    )
    return _editor(request, file, form)


def _file_or_new(request: HttpRequest, persona: Persona, name: str) -> PersonaFile:
    """Return the file that an editor was open on; raises ``Http404`` without one."""
    try:
        return files.get_file(persona, name)
    except Http404:
        if "expected_revision" not in request.POST:
            raise
    try:
        return files.new_file(persona, files.clean_name(name))
    except FileRefused as error:
        raise Http404(str(error)) from None


def _save(request: AuthenticatedHttpRequest, file: PersonaFile) -> HttpResponse:
    form = FileForm(request.POST)
    if not form.is_valid():
        return _editor(request, file, form, status=400)
    typed = form.cleaned_data
    try:
        saved = files.save_file(
            file.persona,
            file.name,
            typed["text"],
            author=request.user,
            reason=typed["reason"],
            expected_revision=typed["expected_revision"],
        )
    except FileRefused as error:
        form.add_error("text", str(error))
        return _editor(request, file, form, status=400)
    except EditConflict as error:
        return _conflict(request, error, typed)
    files.set_private(saved, typed["private"])
    changed = saved.revision != typed["expected_revision"]
    messages.success(request, "Saved." if changed else "Saved; the text is unchanged.")
    return redirect("persona_file", file.persona.name, file.name)


def _conflict(
    request: AuthenticatedHttpRequest, error: EditConflict, typed: dict[str, Any]
) -> HttpResponse:
    """Show the editor with the person's text, and beside it what was saved meanwhile.

    The editor now carries the newer revision, or 0 for a file that was deleted: saving
    again is a decision.
    """
    form = FileForm(
        initial={**typed, "expected_revision": error.current.revision},
    )
    return _editor(
        request,
        error.current,
        form,
        status=409,
        conflict=str(error),
        changes=diff(error.current.text, typed["text"]),
    )


def _editor(
    request: AuthenticatedHttpRequest,
    file: PersonaFile,
    form: FileForm,
    *,
    status: int = 200,
    **more: Any,
) -> HttpResponse:
    free_hint = _FREE_JSON_HINT if file.name.endswith(".json") else _FREE_HINT
    context = _page_of(
        file,
        form=form,
        hint=_HINTS.get(file.name, free_hint),
        file_tokens=estimate_tokens(form["text"].value() or ""),
        prompt_tokens=_prompt_tokens(file.persona),
        bytes_per_token=BYTES_PER_TOKEN,
        **more,
    )
    return render(request, "personas/file.html", context, status=status)


def _prompt_tokens(persona: Persona) -> int:
    """Return the estimated size of the persona's whole instructions as saved."""
    return compose(persona_material(persona), UNLIMITED_TOKENS).system_tokens


@never_cache
@login_required
@require_safe
def file_history(
    request: AuthenticatedHttpRequest, name: str, file_name: str
) -> HttpResponse:
    """List the revisions of a file, newest first."""
    file = files.get_file(get_persona_for_user(request.user, name), file_name)
    revisions = FileRevision.objects.filter(file_id=file.pk)
    revisions = revisions.select_related("author").defer("text")
    page = Paginator(revisions, REVISIONS_PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "personas/history.html", _page_of(file, page=page))


@never_cache
@login_required
@require_safe
def file_revision(
    request: AuthenticatedHttpRequest, name: str, file_name: str, number: int
) -> HttpResponse:
    """Show one revision: what it changed, and what restoring it would change."""
    file = files.get_file(get_persona_for_user(request.user, name), file_name)
    revision = files.get_revision(file, number)
    before = file.revisions.filter(number=number - 1).first()
    context = _page_of(
        file,
        revision=revision,
        changes=diff(before.text if before else "", revision.text),
        to_current=diff(file.text, revision.text),
    )
    return render(request, "personas/revision.html", context)


@login_required
@require_POST
def file_restore(
    request: AuthenticatedHttpRequest, name: str, file_name: str, number: int
) -> HttpResponse:
    """Make an earlier revision the newest one."""
    file = files.get_file(get_persona_for_user(request.user, name), file_name)
    restored = files.restore_revision(file, number, author=request.user)
    if restored.revision == file.revision:
        messages.info(request, f"Version {number} is the same as the current text.")
    else:
        messages.success(request, f"Version {number} is restored.")
    return redirect("persona_file", name, file_name)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def file_delete(
    request: AuthenticatedHttpRequest, name: str, file_name: str
) -> HttpResponse:
    """Ask, and delete a free file with its history."""
    file = files.get_file(get_persona_for_user(request.user, name), file_name)
    if request.method == "POST":
        try:
            files.delete_file(file)
        except FileRefused as error:
            messages.error(request, str(error))
            return redirect("persona_file", name, file_name)
        messages.success(request, f"{file_name} was deleted.")
        return redirect("persona_files", name)
    return render(request, "personas/file_delete.html", _page_of(file))
