from __future__ import annotations

import json
import uuid
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import AuditEvent, User
from channels_app.jobs import leases, old_queue, queue
from channels_app.jobs.beat_steps import retention
from channels_app.jobs.old_queue_lines import read_lines
from channels_app.jobs.queue import NewTask
from channels_app.models import QueuedTask

pytestmark = pytest.mark.django_db
OLD = "queued-7f1c2d3e-0000-4000-8000-00000000000"
LINES: list[Any] = [
    {"id": f"{OLD}1", "task": "Water the garden", "status": "queued"},
    {"id": f"{OLD}2", "task": "Say <hello>", "status": "queued", "force_tier": "haiku"},
    {
        "id": f"{OLD}2",
        "status": "completed",
        "result": "Hello.",
        "model": "claude-haiku",
        "input_tokens": 12,
        "output_tokens": 3,
        "estimated_cost_usd": 0.000_027,
        "timestamp": "2025-01-05T10:00:00Z",
        "completed_at": "2025-01-05T10:00:04Z",
    },
    {"id": 7, "prompt": "Fail", "state": "failed", "error": {"message": "No key."}},
    {"task": "Nameless", "tier": 3, "run_at": "2134-01-01T00:00:00Z"},
    {"task": "Running", "status": "processing"},
]


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("queue", *arguments, stdout=out)
    return out.getvalue()


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    """A file of Symbiont with good and bad lines."""
    path = tmp_path / "queue.jsonl"
    lines = [json.dumps(each) for each in LINES]
    lines[2:2] = ["", "{nonsense", json.dumps({"status": "queued"})]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def claimed(owner: User) -> QueuedTask:
    task = leases.claim_this("test", queue.enqueue(owner, NewTask("Private")).pk)
    assert task is not None
    return task


# --- looking and changing -----------------------------------------------------


def test_tasks_are_listed_without_their_texts(alice: User, bob: User) -> None:
    failed = claimed(alice)
    leases.settle_failed(failed, "no_model", "No model.", retryable=False)
    queue.enqueue(bob, NewTask("Secret"))

    text = run("list")
    assert f"queued-{failed.pk} failed, alice, task" in text
    assert "No model." in text and "Private" not in text and "Secret" not in text
    assert [each["user"] for each in run_json("list")] == ["bob", "alice"]
    assert [each["user"] for each in run_json("list", "--user", "bob")] == ["bob"]
    assert [each["state"] for each in run_json("list", "--state", "failed")] == [
        "failed"
    ]
    assert len(run_json("list", "--limit", "1")) == 1


def test_an_empty_queue_is_said(db: None) -> None:
    assert run("list").strip() == "No tasks."


def test_a_task_is_shown_with_its_texts_when_asked(alice: User) -> None:
    task = queue.enqueue(alice, NewTask("Private"))

    assert "Private" not in run("show", str(task.pk))
    assert run_json("show", f"queued-{task.pk}")["position"] == 1
    assert "task: Private" in run("show", str(task.pk), "--texts")


def test_tasks_are_cancelled_and_retried(alice: User) -> None:
    task = queue.enqueue(alice, NewTask("a"))

    assert "It is cancelled." in run("cancel", str(task.pk))
    assert "number 1" in run("retry", str(task.pk))
    assert "ends it within seconds" in run("cancel", str(claimed(alice).pk))
    with pytest.raises(CommandError, match="This task is not over: waiting"):
        run("retry", str(task.pk))
    for id in ("x", str(uuid.uuid4())):
        with pytest.raises(CommandError, match="There is no task"):
            run("show", id)


# --- the import ---------------------------------------------------------------


def test_the_old_queue_is_taken_over(admin_user: User, old_file: Path) -> None:
    report = run_json("import", str(old_file))

    assert report["user"] == admin_user.username
    assert (report["queued"], report["already"]) == (3, 0)
    assert report["kept"] == {"done": 1, "failed": 1}
    assert report["faults"] == [
        {"line": 4, "why": "It is not JSON."},
        {"line": 5, "why": "It does not say what the task is."},
    ]
    waiting = QueuedTask.objects.filter(state="pending").order_by("created_at")
    assert [(each.text, each.tier) for each in waiting] == [
        ("Water the garden", None),
        ("Nameless", 3),
        ("Running", None),
    ]
    assert waiting[1].not_before.year == 2134
    done = QueuedTask.objects.get(state="done")
    assert (done.text, done.result, done.tier) == ("Say <hello>", "Hello.", 1)
    assert (done.model, done.input_tokens, done.output_tokens) == (
        "claude-haiku",
        12,
        3,
    )
    assert done.cost_nano_usd == 27_000
    assert (done.created_at.isoformat(), str(done.finished_at)) == (
        "2025-01-05T10:00:00+00:00",
        "2025-01-05 10:00:04+00:00",
    )
    failed = QueuedTask.objects.get(state="failed")
    assert (failed.error, failed.source) == ("No key.", "import")
    event = AuditEvent.objects.get(event="queue.imported")
    assert "garden" not in str(vars(event))


def test_importing_again_brings_only_what_is_new(
    admin_user: User, old_file: Path
) -> None:
    run("import", str(old_file))
    with open(old_file, "a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({"id": 8, "task": "New"}))

    text = run("import", str(old_file))

    assert f"1 task waits now, for {admin_user.username}." in text
    assert "5 were imported before." in text
    assert "Line 4 is left: It is not JSON." in text
    assert QueuedTask.objects.count() == 6


def test_imported_tasks_are_somebodys(
    admin_user: User, alice: User, old_file: Path
) -> None:
    assert "for alice" in run("import", str(old_file), "--user", "alice")
    assert set(QueuedTask.objects.values_list("owner", flat=True)) == {alice.pk}


def test_imported_history_is_not_cleared_away(admin_user: User, old_file: Path) -> None:
    run("import", str(old_file))
    before = QueuedTask.objects.count()
    retention._remove_rows()
    assert QueuedTask.objects.count() == before


def test_what_cannot_be_imported_is_said(alice: User, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text("nonsense\n" * 30)
    with pytest.raises(CommandError, match="There is no administrator"):
        run("import", str(bad))
    with pytest.raises(CommandError, match="cannot be read"):
        run("import", str(tmp_path / "none"), "--user", "alice")
    with pytest.raises(CommandError, match="Nothing of the file"):
        run("import", str(bad), "--user", "alice")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"task": " "}, "It does not say what the task is."),
        ({"task": "x" * 32_001}, "The message has 32,001 characters"),
        ({"task": "a", "force_tier": "gpt"}, "Its tier is none"),
        ({"task": "a", "force_tier": 4}, "Its tier is none"),
        ({"task": "a", "force_tier": True}, "Its tier is none"),
        ({"task": "a", "force_tier": [1]}, "Its tier is none"),
        ({"task": "a", "status": "odd"}, "Its state is not one"),
        ({"task": "a", "status": 3}, "Its state is not one"),
        ({"task": "a", "timestamp": "soon"}, "The time “created” is none."),
        ({"task": "a", "timestamp": "1815-01-01"}, "The time “created” cannot be"),
        ({"task": "a", "cost": "much"}, "Its cost is no number."),
        ({"task": "a", "cost": -1}, "Its cost cannot be true."),
        ({"task": "a", "input_tokens": 1.5}, "“input_tokens” is no whole number."),
        ({"task": "a", "input_tokens": -1}, "“input_tokens” cannot be true."),
        ({"id": [1], "task": "a"}, "“id” is neither a text nor a number."),
        (["a"], "It is not a JSON object."),
    ],
)
def test_a_line_that_makes_no_sense_is_left(fields: Any, why: str) -> None:
    tasks, (fault,) = read_lines([b"", json.dumps(fields).encode()])
    assert tasks == []
    assert fault.line == 2 and fault.why.startswith(why)


def test_the_state_may_be_left_to_what_came_of_it() -> None:
    lines = [
        {"task": "a", "output": {"words": 3}},
        {"task": "b", "reason": "broken"},
        {"task": "c", "state": ":in_progress", "timestamp": 1_700_000_000_000},
        {"task": "d", "status": None, "tier": "2"},
        {"task": "d", "status": None, "tier": "2"},
    ]
    tasks, faults = read_lines(json.dumps(line).encode() for line in lines)

    assert faults == []
    assert [task.state for task in tasks] == [
        "done",
        "failed",
        "pending",
        "pending",
        "pending",
    ]
    assert tasks[0].result == '{"words": 3}'
    assert tasks[2].created is not None and tasks[2].created.year == 2023
    assert tasks[3].tier == 2 and tasks[3].key != tasks[4].key


def test_only_what_is_over_is_kept_without_being_done(alice: User) -> None:
    with pytest.raises(ValueError, match="over"):
        old_queue.keep_finished([QueuedTask(owner=alice, text="a")])
    assert not QueuedTask.objects.exists()
