/**
 * The chat page: joins the socket's turns, the messages, the composer and the sidebar.
 *
 * State that matters lives on the server; this module holds the answers that are being
 * written (`live`) and nothing else. Navigation to another chat is an ordinary page load.
 */

import { watchActions } from "./actions.js";
import { Answer, announcementOf } from "./answer.js";
import { Arrivals } from "./arrivals.js";
import { watchConnection } from "./banner.js";
import { Commands } from "./commands.js";
import { Composer } from "./composer.js";
import { Follow } from "./follow.js";
import { linkHeader } from "./header.js";
import { tooLong } from "./length.js";
import { bringDetailsIntoView, cutFrom, joinSiblings, userMessage } from "./messages.js";
import { watchAnswerNote, watchNotice } from "./notice.js";
import { newChatKey, placeOf } from "./place.js";
import { keepPolicy } from "./policy.js";
import { watchSidebar } from "./sidebar.js";
import { ChatSocket } from "./socket.js";
import { Thread } from "./thread.js";
import { Turns } from "./turns.js";
import { watchWhy } from "./why.js";

const chat = document.getElementById("chat");
const thread = document.getElementById("thread");
const status = document.getElementById("status");
const { tell, hush, idle } = watchNotice(document.getElementById("notice"));
const answerNote = watchAnswerNote(
  document.getElementById("command-note"),
  (text, literal) => { if (literal || !commands.take(text)) send(text, literal); },
);
const personaName = chat.dataset.personaName;

const follow = new Follow(document.getElementById("scroller"), document.getElementById("jump"));
const socket = new ChatSocket();
const turns = new Turns(socket);
const composer = new Composer(
  document.getElementById("composer"),
  chat.dataset.user,
  chat.dataset.conversation || newChatKey(chat.dataset),
);
const commands = new Commands(turns, composer, {
  form: document.getElementById("composer"),
  owner: chat.dataset.user,
  here: () => placeOf(chat.dataset),
  show: (text, choices) => answerNote.show(text, choices),
  takeBack,
  go: (path) => location.assign(path),
  stopBegun: () => stop(({ answer }) => !answer.turn),
});
const sidebar = watchSidebar(chat.dataset.persona, () => chat.dataset.conversation);
const messages = new Thread(thread, follow, {
  path: () => {
    const { conversation, older } = chat.dataset;
    return conversation && older === undefined ? `/c/${conversation}/messages` : "";
  },
  isBusy: () => live.size > 0 || thread.querySelector(".editor") !== null,
  onRunning: resume,
  tell,
});

const arrivals = new Arrivals(thread, {
  isBusy: () => live.size > 0,
  refresh: () => messages.refresh(),
  announce: (article) => { status.textContent = announcementOf(article, personaName); },
});

/** Client id or turn id → { answer, undo }; both keys name one entry after the start. */
const live = new Map();

// --- what a person does ------------------------------------------------------------

composer.addEventListener("send", async (event) => {
  if (commands.take(event.detail)) return;
  if (composer.waitsForRoute && !await policyKept()) return;
  send(event.detail);
});
composer.addEventListener("stop", () => stop());
composer.addEventListener("long", ({ detail: sentence }) => (sentence ? tell(sentence) : hush()));
const policyKept = keepPolicy(composer, () => chat.dataset.conversation, tell);

/** Say that a text does not fit in one message; it stays where it is. */
function mustShorten(text) {
  const sentence = tooLong(text);
  if (sentence) tell(sentence);
  return sentence;
}

function send(text, literal = false) {
  if (mustWait() || mustShorten(text)) return;
  if ("older" in chat.dataset) {
    location.assign(`/c/${chat.dataset.conversation}`);
    return;
  }
  hush();
  answerNote.hush();
  const greeting = document.getElementById("greeting");
  greeting?.remove();
  const parent = [...thread.querySelectorAll(".message")].at(-1)?.dataset.id || null;
  const mine = userMessage(text);
  thread.append(mine);
  composer.hold(text);
  const frame = {
    type: "message.send",
    ...placeOf(chat.dataset),
    parent,
    text,
    ...(literal && { literal }),
    ...composer.takeRoute(),
  };
  begin(frame, { mine, undo: (keepsText) => {
    mine.remove();
    if (greeting) thread.append(greeting);
    if (keepsText) composer.text = composer.text ? `${text}\n${composer.text}` : text;
  } });
  composer.focus();
}

/** What was sent is no part of the chat: it was refused, or answered like a command. */
function takeBack(client_id, keepsText = false) {
  composer.release();
  const entry = live.get(client_id);
  live.delete(client_id);
  entry?.answer.article.remove();
  entry?.undo?.(keepsText);
  showBusy();
}

/** While an answer is being written: say that something must wait, and return why. */
function mustWait(act = "send this") {
  if (!live.size) return "";
  const stays = act === "send this" ? "; it stays here" : "";
  const reason = `You can ${act} when ${personaName} has finished${stays}.`;
  tell(reason, true);
  return reason;
}

/** Ask again for the answer in `article`, which stays reachable as another version. */
function retry(article, route) {
  if (mustWait("ask again") || !article.dataset.id) return;
  hush();
  const removed = cutFrom(article);
  begin({ type: "turn.retry", message: article.dataset.id, ...route }, {
    siblingsOf: article,
    undo: () => thread.append(...removed),
  });
}

/** Say something else in the place of one's own message, as another version. */
function edit(article, text) {
  if (mustWait() || mustShorten(text) || !article.dataset.id) return;
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
      article.querySelector(".editor textarea").focus();
    },
  });
  mine.querySelector('[data-action="edit"]').focus({ preventScroll: true });
}

function begin(frame, entry) {
  const answer = new Answer(personaName, () => follow.grown());
  thread.append(answer.article);
  const client_id = turns.begin(frame);
  live.set(client_id, { ...entry, answer, client_id });
  follow.toEnd();
  showBusy();
}

function stop(wanted = () => true) {
  for (const { answer, client_id } of [...new Set(live.values())].filter(wanted)) {
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
  composer.release();
  const entry = live.get(frame.client_id) ?? live.get(frame.turn) ?? adopt(frame.turn);
  if (!entry) return;
  live.delete(entry.client_id);
  live.set(frame.turn, entry);
  entry.answer.start(frame.turn, frame.conversation);
  if (entry.mine) entry.mine.dataset.id = frame.user_message;
  if (!chat.dataset.conversation) settleIn(frame.conversation);
  if (entry.siblingsOf) joinSiblings(entry.answer.article, entry.siblingsOf, frame.conversation);
  if (entry.siblingsOfMine) joinSiblings(entry.mine, entry.siblingsOfMine, frame.conversation);
  status.textContent = `${personaName} is answering`;
  showBusy();
});

/** Take over an answer that the server rendered while its turn was running. */
function adopt(turn) {
  const article = thread.querySelector(`.answer[data-id="${CSS.escape(turn)}"]`);
  if (!article) return null;
  const answer = new Answer(personaName, () => follow.grown(), article);
  answer.start(turn, chat.dataset.conversation);
  const entry = { answer, client_id: "" };
  live.set(turn, entry);
  return entry;
}

/** The new chat has become a conversation with an address. */
function settleIn(conversation) {
  chat.dataset.conversation = conversation;
  history.replaceState(null, "", `/c/${conversation}`);
  composer.moveTo(conversation);
  linkHeader(conversation);
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
onTurn("notice", (answer, frame) => answer.note(frame));
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
  composer.release();
  const entry = live.get(frame.turn) ?? live.get(frame.client_id);
  live.delete(frame.turn);
  live.delete(frame.client_id);
  entry?.answer.abandon();
  showBusy();
  if (frame.conversation && !chat.dataset.conversation) {
    composer.moveTo(frame.conversation);
    location.assign(`/c/${frame.conversation}`);
  } else {
    messages.refresh();
  }
});

turns.addEventListener("refused", ({ detail: frame }) => {
  if (commands.refused(frame)) {
    tell(frame.message);
    return;
  }
  takeBack(frame.client_id, true);
  tell(frame.message);
});

socket.addEventListener("frame", ({ detail: frame }) => {
  if (frame.type === "conversation.changed") changed(frame);
});

function changed({ conversation, title, turn, message }) {
  if (title !== undefined) {
    sidebar.setTitle(conversation, title);
    if (conversation === chat.dataset.conversation) showTitle(title);
  }
  sidebar.refresh();
  if (conversation !== chat.dataset.conversation) return;
  if (turn) arrivals.came(turn);
  if (message) messages.update(message, `/c/${conversation}/messages?message=${message}`);
}

function showTitle(title) {
  const shown = title || "Untitled chat";
  document.getElementById("chat-title").textContent = shown;
  document.title = `${shown} · ${personaName}`;
}

// --- the page --------------------------------------------------------------------------

function showBusy() {
  composer.busy = live.size > 0;
  if (!live.size) {
    idle();
    arrivals.idle();
  }
  chat.classList.toggle("busy", live.size > 0);
  // Another version would take the place of the answer that is being written.
  for (const form of thread.querySelectorAll(".siblings")) form.inert = live.size > 0;
}

function resume(article) {
  adopt(article.dataset.id);
  turns.follow(article.dataset.id);
  showBusy();
}

watchActions(thread, {
  isBusy: () => live.size > 0,
  send,
  retry,
  edit,
  messages,
  conversation: () => chat.dataset.conversation,
});
watchWhy(thread, document.getElementById("why"), {
  whyNot: () => mustWait("ask again"),
  redo: (article, tier) => retry(article, { model: null, tier }),
});

// Notes of changes get lost while a tab sleeps or its line is down.
let wasOpen = false;
socket.addEventListener("open", () => {
  if (wasOpen && !live.size) messages.refresh();
  wasOpen = true;
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !live.size) messages.refresh();
});

// Until here, what needs this module was out of reach.
delete chat.dataset.asleep;
document.getElementById("composer").inert = false;
watchConnection(socket, document.getElementById("connection"));
bringDetailsIntoView(thread);
messages.wake();
const cameFor = follow.begin(thread.querySelector(".found"));
commands.welcome();
socket.connect();
if (!cameFor && matchMedia("(hover: hover)").matches) composer.focus();
