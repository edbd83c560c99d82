/**
 * The chat page: joins the socket's turns, the messages, the composer and the sidebar.
 *
 * State that matters lives on the server; this module holds the answers that are being
 * written (`live`) and nothing else. Navigation to another chat is an ordinary page load.
 */

import { Composer, routeOf } from "./composer.js";
import { Follow } from "./follow.js";
import { Answer, enhance, showSiblings, sourceOf, userMessage } from "./messages.js";
import { watchSidebar } from "./sidebar.js";
import { ChatSocket } from "./socket.js";
import { Turns } from "./turns.js";

const chat = document.getElementById("chat");
const thread = document.getElementById("thread");
const status = document.getElementById("status");
const notice = document.getElementById("notice");
const banner = document.getElementById("connection");
const personaName = chat.dataset.personaName;

const follow = new Follow(document.getElementById("scroller"), document.getElementById("jump"));
const socket = new ChatSocket();
const turns = new Turns(socket);
const composer = new Composer(document.getElementById("composer"), draftPlace());
const sidebar = watchSidebar(chat.dataset.persona, () => chat.dataset.conversation);

/** Client id or turn id → { answer, undo }; both keys name one entry after the start. */
const live = new Map();

function draftPlace() {
  return chat.dataset.conversation || `new:${chat.dataset.persona}`;
}

// --- what a person does ------------------------------------------------------------

composer.addEventListener("send", (event) => send(event.detail));
composer.addEventListener("stop", stop);

function send(text) {
  if (live.size) {
    tell(`You can send this when ${personaName} has finished; it stays here.`);
    return;
  }
  if ("older" in chat.dataset) {
    location.assign(`/c/${chat.dataset.conversation}`);
    return;
  }
  hush();
  const greeting = document.getElementById("greeting");
  greeting?.remove();
  const parent = [...thread.querySelectorAll(".message")].at(-1)?.dataset.id || null;
  const mine = userMessage(text);
  thread.append(mine);
  composer.clear();
  const frame = {
    type: "message.send",
    persona: chat.dataset.persona,
    conversation: chat.dataset.conversation || null,
    parent,
    text,
    ...composer.route,
  };
  begin(frame, { mine, undo: () => {
    mine.remove();
    if (greeting) thread.append(greeting);
    composer.text = composer.text ? `${text}\n${composer.text}` : text;
  } });
  composer.focus();
}

/** Ask again for the answer in `article`, which stays reachable as another version. */
function retry(article, route) {
  if (live.size || !article.dataset.id) return;
  hush();
  const removed = cutFrom(article);
  begin({ type: "turn.retry", message: article.dataset.id, ...route }, {
    siblingsOf: article,
    undo: () => thread.append(...removed),
  });
}

/** Say something else in the place of one's own message, as another version. */
function edit(article, text) {
  if (live.size || !article.dataset.id) return;
  hush();
  const removed = cutFrom(article);
  const mine = userMessage(text);
  thread.append(mine);
  begin({ type: "message.edit", message: article.dataset.id, text, answer: true }, {
    mine,
    siblingsOfMine: article,
    undo: () => {
      mine.remove();
      thread.append(...removed);
    },
  });
}

/** Take a message and what follows it out of the page and return the elements. */
function cutFrom(article) {
  const messages = [...thread.querySelectorAll(".message")];
  const removed = messages.slice(messages.indexOf(article));
  for (const each of removed) each.remove();
  return removed;
}

function begin(frame, entry) {
  const answer = new Answer(personaName, () => follow.grown());
  thread.append(answer.article);
  const client_id = turns.begin(frame);
  live.set(client_id, { ...entry, answer, client_id });
  follow.toEnd();
  showBusy();
}

function stop() {
  for (const { answer, client_id } of new Set(live.values())) {
    turns.stop(answer.turn || client_id);
    answer.setStage("stopping");
  }
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented || !live.size) return;
  if (document.querySelector(":popover-open, dialog[open], details.chat-menu[open]")) return;
  event.preventDefault();
  stop();
});

// --- what the server says -----------------------------------------------------------

turns.addEventListener("started", ({ detail: frame }) => {
  const entry = live.get(frame.client_id) ?? live.get(frame.turn) ?? adopt(frame.turn);
  if (!entry) return;
  live.delete(entry.client_id);
  live.set(frame.turn, entry);
  entry.answer.start(frame.turn);
  if (entry.mine) entry.mine.dataset.id = frame.user_message;
  if (!chat.dataset.conversation) settleIn(frame.conversation);
  if (entry.siblingsOf) joinSiblings(entry.answer.article, entry.siblingsOf);
  if (entry.siblingsOfMine) joinSiblings(entry.mine, entry.siblingsOfMine);
  status.textContent = `${personaName} is answering`;
  showBusy();
});

/** Take over an answer that the server rendered while its turn was running. */
function adopt(turn) {
  const article = thread.querySelector(`.answer[data-id="${CSS.escape(turn)}"]`);
  if (!article) return null;
  const answer = new Answer(personaName, () => follow.grown(), article);
  answer.start(turn);
  const entry = { answer, client_id: "" };
  live.set(turn, entry);
  return entry;
}

function joinSiblings(article, earlier) {
  const ids = earlier.dataset.siblings.split(",").filter(Boolean);
  if (!ids.length) ids.push(earlier.dataset.id);
  if (!ids.includes(article.dataset.id)) ids.push(article.dataset.id);
  showSiblings(article, ids, chat.dataset.conversation);
}

/** The new chat has become a conversation with an address. */
function settleIn(conversation) {
  chat.dataset.conversation = conversation;
  history.replaceState(null, "", `/c/${conversation}`);
  composer.moveTo(conversation);
  sidebar.refresh();
}

function onTurn(kind, act) {
  turns.addEventListener(kind, ({ detail: frame }) => {
    const entry = live.get(frame.turn);
    if (entry) act(entry.answer, frame);
  });
}

onTurn("stage", (answer, frame) => answer.setStage(frame.stage));
onTurn("routed", (answer, frame) => {
  answer.setRoute(frame);
  answer.noteRoute(frame);
});
onTurn("delta", (answer, frame) => answer.append(frame.text));
onTurn("thinking", (answer, frame) => answer.think(frame.text));
onTurn("finished", (answer, frame) => {
  answer.finish(frame);
  live.delete(frame.turn);
  status.textContent = answer.announcement();
  showBusy();
  sidebar.refresh();
});

turns.addEventListener("gone", ({ detail: frame }) => {
  live.delete(frame.turn);
  showBusy();
  reload();
});

turns.addEventListener("refused", ({ detail: frame }) => {
  const entry = live.get(frame.client_id);
  if (entry) {
    live.delete(frame.client_id);
    entry.answer.article.remove();
    entry.undo?.();
  }
  showBusy();
  tell(frame.message);
});

socket.addEventListener("frame", ({ detail: frame }) => {
  if (frame.type === "conversation.changed") changed(frame);
});

function changed({ conversation, title, turn }) {
  if (title !== undefined) {
    sidebar.setTitle(conversation, title);
    if (conversation === chat.dataset.conversation) showTitle(title);
  }
  sidebar.refresh();
  const isShown = conversation === chat.dataset.conversation && !("older" in chat.dataset);
  // A turn of this very tab is on its way already, or just ended.
  if (isShown && turn && !live.size && !thread.querySelector(`[data-id="${CSS.escape(turn)}"]`)) {
    reload();
  }
}

function showTitle(title) {
  const shown = title || "Untitled chat";
  document.getElementById("chat-title").textContent = shown;
  document.title = `${shown} · ${personaName}`;
}

// --- the connection ------------------------------------------------------------------

socket.addEventListener("open", () => { banner.hidden = true; });
socket.addEventListener("lost", ({ detail: seconds }) => {
  showBanner(`Connection lost. Trying again in ${seconds} s; nothing is lost.`);
});
socket.addEventListener("signedout", () => {
  showBanner("You were signed out.", true);
});

function showBanner(text, withSignIn = false) {
  banner.querySelector(".banner-text").textContent = text;
  const link = banner.querySelector(".banner-link");
  link.hidden = !withSignIn;
  link.href = `/account/login/?next=${encodeURIComponent(location.pathname)}`;
  banner.hidden = false;
}

// --- the page --------------------------------------------------------------------------

function showBusy() {
  composer.busy = live.size > 0;
  chat.classList.toggle("busy", live.size > 0);
}

function tell(text) {
  notice.querySelector("span").textContent = text;
  notice.hidden = false;
}

function hush() {
  notice.hidden = true;
}

notice.querySelector("button").addEventListener("click", hush);

/** Fetch a fragment of messages; it comes from our own templates with text escaped. */
async function fragmentOf(path, options = {}) {
  const answer = await fetch(path, {
    ...options,
    headers: { "X-Requested-With": "fetch" },
  });
  if (!answer.ok || answer.redirected) throw new Error(`${path}: ${answer.status}`);
  const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
  return document.importNode(parsed.body, true).childNodes;
}

async function reload() {
  if (!chat.dataset.conversation) return;
  await show(`/c/${chat.dataset.conversation}/messages`);
}

async function show(path, options) {
  try {
    const nodes = await fragmentOf(path, options);
    thread.replaceChildren(...nodes);
    wake(thread);
    follow.grown();
  } catch {
    tell("The messages could not be loaded. Please reload the page.");
  }
}

/** Give messages that the server rendered their behaviour, and follow running turns. */
function wake(root) {
  for (const article of root.querySelectorAll(".message")) {
    const entry = live.get(article.dataset.id);
    if (entry) {
      article.replaceWith(entry.answer.article);
    } else if (article.querySelector("[data-source]")) {
      enhance(article);
      if (article.dataset.state === "generating") resume(article);
    }
  }
  watchOlder();
}

function resume(article) {
  adopt(article.dataset.id);
  turns.follow(article.dataset.id);
  showBusy();
}

const olderWatcher = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) showOlder();
}, { root: document.getElementById("scroller"), rootMargin: "400px 0px 0px 0px" });

function watchOlder() {
  olderWatcher.disconnect();
  const link = document.getElementById("older");
  if (link) olderWatcher.observe(link);
}

async function showOlder() {
  const link = document.getElementById("older");
  if (!link || link.dataset.loading !== undefined) return;
  link.dataset.loading = "";
  olderWatcher.disconnect();
  try {
    const nodes = [...await fragmentOf(link.dataset.fragment)];
    const older = document.createDocumentFragment();
    older.append(...nodes.filter((node) => !node.classList?.contains("newer")));
    for (const article of older.querySelectorAll(".message")) enhance(article);
    follow.keepingPlace(() => link.replaceWith(older));
    watchOlder();
  } catch {
    delete link.dataset.loading;
    tell("Older messages could not be loaded.");
  }
}

// --- buttons of messages -------------------------------------------------------------

thread.addEventListener("click", (event) => {
  const opener = event.target.closest(".opener");
  if (opener) {
    send(opener.dataset.text);
    return;
  }
  const older = event.target.closest("#older");
  if (older) {
    event.preventDefault();
    showOlder();
    return;
  }
  const button = event.target.closest("[data-action]");
  const article = button?.closest(".message");
  if (article) act(button, article);
});

function act(button, article) {
  const action = button.dataset.action;
  if (action === "copy") copy(button, sourceOf(article));
  else if (action === "copy-code") {
    copy(button, button.closest(".code-frame").querySelector("code").textContent);
  } else if (action === "retry") retry(article, { model: null, tier: null });
  else if (action === "edit") openEditor(article);
}

thread.addEventListener("change", (event) => {
  const select = event.target.closest(".retry-with");
  if (select?.value) retry(select.closest(".message"), routeOf(select.value));
});

thread.addEventListener("submit", (event) => {
  const form = event.target.closest(".siblings");
  if (!form) return;
  event.preventDefault();
  const body = new FormData(form, event.submitter);
  show(form.action, { method: "POST", body });
});

async function copy(button, text) {
  const label = button.querySelector(".icon") ? null : button.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyByHand(text);
  }
  status.textContent = "Copied";
  button.classList.add("done");
  if (label) button.textContent = "Copied";
  setTimeout(() => {
    button.classList.remove("done");
    if (label) button.textContent = label;
  }, 1500);
}

/** The clipboard API is missing on plain http of other machines. */
function copyByHand(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function openEditor(article) {
  if (live.size || article.querySelector(".editor")) return;
  const bubble = article.querySelector(".bubble");
  const form = document.getElementById("editor").content.firstElementChild.cloneNode(true);
  const area = form.querySelector("textarea");
  area.value = sourceOf(article);
  const close = () => {
    form.remove();
    bubble.hidden = false;
    article.classList.remove("editing");
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = area.value;
    close();
    if (text.trim()) edit(article, text);
  });
  form.querySelector('[type="button"]').addEventListener("click", close);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      close();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      form.requestSubmit();
    }
  });
  bubble.hidden = true;
  bubble.after(form);
  article.classList.add("editing");
  area.focus();
}

wake(thread);
follow.toEnd();
socket.connect();
if (matchMedia("(hover: hover)").matches) composer.focus();
