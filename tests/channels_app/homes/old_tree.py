"""A made-up home of an earlier Cortex, with all that such a folder may hold."""

from __future__ import annotations

import json
from pathlib import Path

TALK_SECRET = "an-old-talk-secret-" * 3
VENDOR_KEY = "sk-ant-made-up-0123456789"

INARA = {
    "IDENTITY.md": b"# Inara\r\n\r\nI keep the household in mind.\r\n",
    "SOUL.md": "Calm, curious, brief. Grüß Gott! 日本語 \u200d\n".encode(),
    "USER.md": b"\xef\xbb\xbf- Alice lives in Linz.\n",
    "MEMORY_SHORT.md": b"- 2025-05-01 Needs new strings. <!-- private -->\n\n\n",
    "MEMORY_MID.md": b"",
    "MEMORY_LONG.md": b"- Plays the cello",
    "TASKS.json": b'{ "open" : [ {"what":"strings","due":null} ] }',
    "Recipes and more.md": b"Soup.\n",
    "notes.v2.txt": b"one\n\ttwo\n",
}
SESSIONS = {
    "2025-03-01.json": b"""[
  {"role": "user", "content": "Where are my keys?",
   "timestamp": "2025-03-01T10:00:00Z"},
  {"role": "assistant", "content": "On the hook.",
   "timestamp": 1740823201.5, "model": "m", "x": [1, {"y": null}]}
]
""",
    "2025-03-02.json": "\ufeff".encode()
    + json.dumps(
        {
            "title": "The cello",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Strings?", "timestamp": 1740909600000},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"name": "shop"}],
                },
                {"role": "tool", "content": '{"found": 3}'},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "Three shops."},
                        {"type": "text", "text": "Shall I ring?"},
                    ],
                },
                {
                    "role": "user",
                    "content": "Yes.",
                    "timestamp": "2025-03-02T11:30:00+01:00",
                },
            ],
            "mood": "curious",
        }
    ).encode(),
    "long one.jsonl": b"".join(
        json.dumps(
            {
                "role": "assistant" if number % 2 else "user",
                "content": f"Line {number} \u00e4 \U0001f3bb",
                "timestamp": f"2025-04-01T12:00:{number:02d}",
            },
            ensure_ascii=bool(number % 3),
        ).encode()
        + (b"\r\n" if number % 4 else b"\n\n")
        for number in range(20)
    ),
}
REGISTRY = f"""{{"version": 2,
 "hosts": {{
   "ant": {{"type": "anthropic_api", "label": "My Claude",   "api_key": "{VENDOR_KEY}"}}
 }},
 "models": {{"big": {{"type": "anthropic_api", "label": "Big one", "host_id": "ant",
   "model_name": "claude-opus-4-1", "context_k": 200, "tags": ["tools"]}}}},
 "roles": {{"chat": {{"primary": "big", "backup_1": "builtin"}}}}}}
""".encode()
LOCAL = b"""{"base_url": "http://user:pa55@192.168.1.5:8000",
 "model": "llama3", "max_output_tokens": 512}"""
CHANNELS = json.dumps(
    {
        "nextcloud": {
            "url": "https://cloud.example.org",
            "bot_secret": TALK_SECRET,
            "persona": "inara",
            "rooms": ["abc123xyz"],
        }
    },
    indent=4,
).encode()


def write_home(folder: Path) -> Path:
    """Write the home of alice and bob; return the folder ``home``."""
    home = folder / "home"
    for name, files in {"inara": INARA, "wintermute": {"SOUL.md": b"Cold."}}.items():
        write_files(home / "alice" / "persona" / name, files)
    write_files(home / "alice" / "persona" / "inara" / "sessions", SESSIONS)
    write_files(
        home / "alice", {"channels.json": CHANNELS, "model_registry.json": REGISTRY}
    )
    write_files(home / "bob" / "persona" / "inara", {"IDENTITY.md": b"Another Inara"})
    write_files(home / "bob", {"local_llm.json": LOCAL})
    return home


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder by their paths in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
