/**
 * The messages of a conversation as elements: those the server rendered, and those that
 * appear while one watches. The markup comes from the page's two templates, so that
 * both kinds look and behave the same.
 */

import { GrowingText, toNodes } from "./markdown.js";

const STAGES = {
  sending: "reading your message",
  routing: "choosing a model",
  waiting: "waiting for the model",
  thinking: "thinking",
  tool: "using a tool",
  writing: "writing",
};
const ANNOUNCED_CHARS = 500;
const sources = new WeakMap();

/** Return the Markdown of a message's element. */
export function sourceOf(article) {
  return sources.get(article) ?? "";
}

/** Turn a message that the server rendered as plain text into its full look. */
export function enhance(article) {
  const box = article.querySelector("[data-source]");
  const source = box.textContent;
  sources.set(article, source);
  box.replaceChildren(toNodes(source));
  box.removeAttribute("data-source");
  for (const time of article.querySelectorAll("time")) showLocalTime(time);
  fillRetryChoices(article);
}

function showLocalTime(time) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) return;
  const isToday = at.toDateString() === new Date().toDateString();
  const day = isToday ? {} : { day: "numeric", month: "short" };
  time.textContent = at.toLocaleString([], { ...day, hour: "2-digit", minute: "2-digit" });
  time.title = at.toLocaleString();
}

function fillRetryChoices(article) {
  const select = article.querySelector(".retry-with");
  if (!select) return;
  const route = document.getElementById("route");
  select.replaceChildren(new Option("Retry with…", "", true, true));
  for (const child of route.children) {
    if (child.value !== "") select.append(child.cloneNode(true));
  }
  select.value = "";
}

/** Return a new element for a person's message. */
export function userMessage(text) {
  const article = fromTemplate("message-user");
  article.querySelector("[data-source]").textContent = text;
  article.querySelector("time").dateTime = new Date().toISOString();
  enhance(article);
  return article;
}

function fromTemplate(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

/** Show which of several versions a message is; `ids` are all of them in order. */
export function showSiblings(article, ids, conversation) {
  const form = article.querySelector(".siblings");
  const index = ids.indexOf(article.dataset.id);
  article.dataset.siblings = ids.join(",");
  form.hidden = ids.length < 2 || index < 0;
  if (form.hidden) return;
  form.action = `/c/${conversation}/branch`;
  const [previous, next] = form.querySelectorAll("button");
  previous.value = ids[index - 1] ?? "";
  previous.disabled = index === 0;
  next.value = ids[index + 1] ?? "";
  next.disabled = index === ids.length - 1;
  form.querySelector(".sibling-count").textContent = `${index + 1}/${ids.length}`;
}

/** Return what an answer cost, in words where there is no amount. */
export function costText(cost_usd, estimated) {
  if (cost_usd === null || cost_usd === undefined) return "cost unknown";
  const text = Number(cost_usd) === 0 ? "free" : `$${cost_usd}`;
  return estimated ? `${text} (estimated)` : text;
}

/** One answer while it is being written. */
export class Answer {
  /** The element in the page. */
  article;
  /** Id of the turn, once it is known. */
  turn = "";
  isFinished = false;
  #text;
  #thinking = "";
  #thinkingSince = 0;
  #hasText = false;

  /**
   * @param {string} personaName
   * @param {() => void} onGrown called after each change of the element
   * @param {HTMLElement} [article] an answer in the page whose turn runs already
   */
  constructor(personaName, onGrown, article = fromTemplate("message-answer")) {
    this.article = article;
    this.personaName = personaName;
    this.onGrown = onGrown;
    this.box = article.querySelector(".text");
    this.box.removeAttribute("data-source");
    this.#text = new GrowingText(this.box, onGrown);
    fillRetryChoices(article);
    article.querySelector(".trouble").hidden = true;
    article.classList.add("live");
    this.setStage("sending");
  }

  /** Bind the element to its turn. */
  start(turn) {
    this.turn = turn;
    this.article.dataset.id = turn;
    this.article.dataset.state = "generating";
  }

  setStage(stage, detail = "") {
    const line = this.article.querySelector(".stage");
    line.hidden = stage === "writing";
    const words = STAGES[stage] ?? stage;
    line.querySelector(".stage-text").textContent =
      `${this.personaName} is ${words}${detail ? ` (${detail})` : ""}`;
    if (!line.hidden) this.onGrown();
  }

  setRoute({ model, fallback }) {
    this.article.querySelector(".model").textContent = model;
    this.setStage("waiting", fallback ? `now ${model}` : model);
  }

  append(text) {
    if (!this.#hasText) {
      this.#hasText = true;
      this.setStage("writing");
      this.#endThinking();
    }
    this.#text.append(text);
  }

  think(text) {
    const details = this.article.querySelector(".thinking");
    this.#thinkingSince ||= performance.now();
    this.#thinking += text;
    details.hidden = false;
    details.querySelector(".thinking-text").textContent = this.#thinking;
  }

  #endThinking() {
    if (!this.#thinkingSince) return;
    const seconds = Math.max(1, Math.round((performance.now() - this.#thinkingSince) / 1000));
    this.article.querySelector(".thinking summary").textContent = `Thought for ${seconds} s`;
  }

  /** Show how the turn ended; `frame` is its turn.finished. */
  finish(frame) {
    this.isFinished = true;
    if (this.#hasText) this.#text.finish();
    else this.box.replaceChildren();
    this.#endThinking();
    const { article } = this;
    sources.set(article, this.#text.source);
    article.classList.remove("live");
    article.dataset.state = frame.outcome;
    article.querySelector(".stage").hidden = true;
    article.querySelector(".stopped").hidden = frame.outcome !== "interrupted" || frame.error;
    this.#showTrouble(frame);
    this.#showFacts(frame);
    this.onGrown();
  }

  #showTrouble({ outcome, error }) {
    const trouble = this.article.querySelector(".trouble");
    const message = error?.message
      ?? (outcome === "failed" ? "The model did not answer." : "")
      ?? "";
    trouble.hidden = !message;
    trouble.querySelector(".trouble-text").textContent = message;
  }

  #showFacts({ model, tier, usage, cost_usd, estimated }) {
    const cost = costText(cost_usd, estimated);
    this.article.querySelector(".model").textContent = model ?? "";
    this.article.querySelector(".cost").textContent = model ? cost : "";
    const facts = {
      model: model || "–",
      tier: tier ?? "–",
      input: usage?.input_tokens ?? "unknown",
      output: usage?.output_tokens ?? "unknown",
      cost,
    };
    for (const [name, value] of Object.entries(facts)) this.#fact(name, value);
  }

  /** Note what the router said, for the details. */
  noteRoute({ tier, reason, attempt }) {
    this.#fact("tier", tier ?? "–");
    this.#fact("reason", reason || "–");
    this.#fact("attempts", attempt ?? "–");
    const time = this.article.querySelector('[data-fact="time"] time');
    time.dateTime ||= new Date().toISOString();
    showLocalTime(time);
  }

  #fact(name, value) {
    const fact = this.article.querySelector(`[data-fact="${name}"]`);
    if (fact) fact.textContent = String(value);
  }

  /** What a screen reader is told once, at the end. */
  announcement() {
    const text = this.box.textContent.trim();
    const said = text.length > ANNOUNCED_CHARS ? `${text.slice(0, ANNOUNCED_CHARS)}…` : text;
    if (this.article.dataset.state === "failed") {
      return this.article.querySelector(".trouble-text").textContent;
    }
    return `${this.personaName} answered: ${said}`;
  }
}
