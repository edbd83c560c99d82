/** One answer while it is being written: stage, growing text, thinking, and its end. */

import { writeDollars } from "./amounts.js";
import { GrowingText } from "./markdown.js";
import { fillRetryChoices, fromTemplate, setSource } from "./messages.js";
import { showLocalTime } from "./times.js";

const STAGES = {
  sending: "reading your message",
  routing: "choosing a model",
  waiting: "waiting for the model",
  thinking: "thinking",
  tool: "using a tool",
  writing: "writing",
};
const ANNOUNCED_CHARS = 500;

/** Return what an answer cost, in words where there is no amount. */
export function costText(cost_usd, estimated) {
  if (cost_usd === null || cost_usd === undefined) return "cost unknown";
  if (isFree(cost_usd)) return "free";
  const amount = writeDollars(Number(cost_usd));
  return estimated ? `${amount} (estimated)` : amount;
}

/** Return what the picker calls a tier; empty for none. */
function tierName(tier) {
  const option = document.querySelector(`#route option[value="tier:${Number(tier)}"]`);
  return option?.textContent ?? "";
}

function isFree(cost_usd) {
  return typeof cost_usd === "string" && Number(cost_usd) === 0;
}

/** What a screen reader is told of an answer that has ended. */
export function announcementOf(article, personaName) {
  if (article.dataset.state === "failed") {
    return article.querySelector(".trouble-text").textContent;
  }
  const text = article.querySelector(".text").textContent.trim();
  const said = text.length > ANNOUNCED_CHARS ? `${text.slice(0, ANNOUNCED_CHARS)}…` : text;
  return `${personaName} answered: ${said}`;
}

/** One answer while it is being written. */
export class Answer {
  /** The element in the page. */
  article;
  /** Id of the turn, once it is known. */
  turn = "";
  #text;
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
  start(turn, conversation) {
    this.turn = turn;
    this.article.dataset.id = turn;
    this.article.dataset.state = "generating";
    this.article.querySelector(".why").href = `/c/${conversation}/why/${turn}`;
  }

  setStage(stage, detail = "") {
    const line = this.article.querySelector(".stage");
    line.hidden = stage === "writing";
    const words = STAGES[stage] ?? stage;
    line.querySelector(".stage-text").textContent =
      `${this.personaName} is ${words}${detail ? ` (${detail})` : ""}`;
    if (!line.hidden) this.onGrown();
  }

  setRoute({ model, tier, fallback, continues }) {
    this.article.querySelector(".model").textContent = model;
    this.article.querySelector(".tier").textContent = tierName(tier);
    this.#text.addSeam(continues ? model : "");
    this.setStage("waiting", fallback ? `now ${model}` : model);
  }

  /** Show a sentence of Cortex beside the answer; `busy` holds until text comes. */
  note({ code, text }) {
    const notes = this.article.querySelector(".notes");
    if (code === "busy") this.#dropBusyNotes();
    if ([...notes.children].some((note) => note.textContent === text)) return;
    const note = document.createElement("p");
    note.dataset.code = code;
    note.textContent = text;
    notes.append(note);
    this.onGrown();
  }

  #dropBusyNotes() {
    for (const note of this.article.querySelectorAll('.notes [data-code="busy"]')) note.remove();
  }

  append(text) {
    if (!this.#hasText) {
      this.#hasText = true;
      this.#dropBusyNotes();
      this.setStage("writing");
      this.#endThinking();
    }
    this.#text.append(text);
  }

  think(text) {
    const details = this.article.querySelector(".thinking");
    this.#thinkingSince ||= performance.now();
    details.hidden = false;
    details.querySelector(".thinking-text").append(text);
  }

  #endThinking() {
    if (!this.#thinkingSince) return;
    const seconds = Math.max(1, Math.round((performance.now() - this.#thinkingSince) / 1000));
    this.article.querySelector(".thinking summary").textContent = `Thought for ${seconds} s`;
  }

  /** Show how the turn ended; `frame` is its turn.finished. */
  finish(frame) {
    if (!this.#hasText) this.box.replaceChildren();
    setSource(this.article, this.#text.source);
    this.#end();
    const { article } = this;
    article.dataset.state = frame.outcome;
    article.querySelector(".stopped").hidden = frame.outcome !== "interrupted" || frame.error;
    this.#showTrouble(frame);
    this.#showFacts(frame);
    this.onGrown();
  }

  /** Keep the text as it is: nobody writes it any more, and its end is not known here. */
  abandon() {
    if (this.#hasText) setSource(this.article, this.#text.source);
    this.#end();
    this.#showTrouble({ error: { message: "This answer was interrupted." } });
    this.onGrown();
  }

  #end() {
    if (this.#hasText) this.#text.finish();
    this.#endThinking();
    this.#dropBusyNotes();
    this.article.classList.remove("live");
    this.article.querySelector(".stage").hidden = true;
  }

  #showTrouble({ outcome, error }) {
    const trouble = this.article.querySelector(".trouble");
    const message = error?.message
      ?? (outcome === "failed" ? "The model did not answer." : "")
      ?? "";
    trouble.hidden = !message;
    trouble.querySelector(".trouble-text").textContent = message;
    for (const link of trouble.querySelectorAll("[data-for-error]")) {
      link.hidden = !link.dataset.forError.split(" ").includes(error?.code);
    }
  }

  #showCost(cost_usd, estimated) {
    const { article } = this;
    const hasNothing = article.dataset.state === "failed" && !this.#hasText;
    if (hasNothing) article.querySelector(".fallback").hidden = true;
    const cost = hasNothing && isFree(cost_usd) ? "" : costText(cost_usd, estimated);
    article.querySelector(".cost").textContent = article.querySelector(".model").textContent && cost;
    this.#fact("cost", cost || "–");
  }

  #showFacts({ model, tier, usage, cost_usd, estimated }) {
    this.article.querySelector(".model").textContent = model ?? "";
    this.article.querySelector(".tier").textContent = tierName(tier);
    this.#showCost(cost_usd, estimated);
    const facts = {
      model: model || "–",
      tier: tier ?? "–",
      input: usage?.input_tokens ?? "unknown",
      output: usage?.output_tokens ?? "unknown",
    };
    for (const [name, value] of Object.entries(facts)) this.#fact(name, value);
  }

  /** Note what the router said, for the details. */
  noteRoute({ tier, reason, attempt, fallback }) {
    this.#fact("tier", tier ?? "–");
    this.#fact("reason", reason || "–");
    this.#fact("attempts", attempt ?? "–");
    this.article.querySelector(".fallback").hidden = !fallback;
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
    return announcementOf(this.article, this.personaName);
  }
}
