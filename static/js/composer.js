/**
 * The box in which messages are written: sending keys, growth, drafts, model choice.
 *
 * A draft is kept per person and chat in the browser until the person signs out
 * (base.js); drafts older than thirty days are dropped. Who answers is kept with the
 * conversation on the server, and in the browser only until there is one.
 */

import { tooLong } from "./length.js";

const DRAFT_PREFIX = "cortex:draft:";
const ROUTE_PREFIX = "cortex:route:";
const DRAFT_DAYS = 30;
const DAY_MS = 86_400_000;

export class Composer extends EventTarget {
  #area;
  #route;
  #send;
  #stop;
  #owner;
  #place;
  /** The choice that the server knows. */
  #savedRoute;
  /** Whether it has been said that the text is too long. */
  #isLong = false;
  /** What was sent and may still come back. */
  #unsent = "";

  /**
   * Events: `send` (detail = the text), `stop`, `route` (detail = a choice that the
   * conversation does not have yet), `long` (detail = a sentence when the text has
   * become too long to be sent, empty when it fits again).
   *
   * @param {HTMLFormElement} form
   * @param {string} owner id of the person
   * @param {string} place what the draft belongs to: a conversation, or a new chat
   */
  constructor(form, owner, place) {
    super();
    this.#area = form.querySelector("textarea");
    this.#route = form.querySelector("#route");
    this.#send = form.querySelector("#send");
    this.#stop = form.querySelector("#stop");
    this.#owner = owner;
    this.#place = place;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#area.addEventListener("keydown", (event) => this.#key(event));
    this.#area.addEventListener("input", () => this.#changed());
    this.#savedRoute = this.#route.querySelector("[selected]")?.value ?? "";
    this.#route.addEventListener("change", () => this.#routeChanged());
    this.#stop.addEventListener("click", () => this.dispatchEvent(new Event("stop")));
    dropOldDrafts();
    this.#restore();
  }

  get text() {
    return this.#area.value;
  }

  set text(value) {
    this.#area.value = value;
    this.#changed();
  }

  /**
   * What a frame carries for what is picked: nothing where the conversation's own
   * policy says the same, a policy for a conversation that is about to begin.
   */
  takeRoute() {
    const { value } = this.#route;
    if (this.#isNew) {
      this.#savedRoute = value;
      return { model: null, tier: null, policy: routeOf(value) };
    }
    return value === this.#savedRoute ? { model: null, tier: null } : routeOf(value);
  }

  /** The conversation has got this choice. */
  routeSaved(value) {
    this.#savedRoute = value;
  }

  /**
   * The conversation has not got this choice: show the one that it has, unless another
   * one was picked meanwhile. Says whether that was so.
   */
  routeRefused(value) {
    if (this.#route.value !== value) return false;
    this.#route.value = this.#savedRoute;
    this.#explainRoute();
    return true;
  }

  /** Pick a choice that the conversation has already, or that a new one is to begin with. */
  chooseRoute(value) {
    if (!hasOption(this.#route, value)) return;
    this.#route.value = value;
    if (this.#isNew) this.#routeChanged();
    else this.#savedRoute = value;
    this.#explainRoute();
  }

  /** No frame can say what is picked before the conversation has got it: as set up. */
  get waitsForRoute() {
    return !this.#isNew && this.#route.value === "" && this.#savedRoute !== "";
  }

  get #isNew() {
    return this.#place.startsWith("new:");
  }

  focus() {
    this.#area.focus({ preventScroll: true });
  }

  /** Show Stop in the place of Send while an answer is being written. */
  set busy(isBusy) {
    this.#send.hidden = isBusy;
    this.#stop.hidden = !isBusy;
  }

  /** The chat has got its conversation: drafts and the choice belong to it from now. */
  moveTo(place) {
    store(this.#keyOf(DRAFT_PREFIX), null);
    store(this.#keyOf(ROUTE_PREFIX), null);
    this.#place = place;
    this.#saveDraft();
    if (this.#route.value !== this.#savedRoute) this.#routeChanged();
  }

  #restore() {
    const draft = load(this.#keyOf(DRAFT_PREFIX));
    if (draft?.text && !this.#area.value) this.#area.value = draft.text;
    const route = this.#isNew ? load(this.#keyOf(ROUTE_PREFIX)) : null;
    if (typeof route === "string" && hasOption(this.#route, route)) {
      this.#route.value = route;
      this.#explainRoute();
    }
    this.#grow();
  }

  #submit() {
    const text = this.#area.value;
    if (!text.trim()) return;
    this.dispatchEvent(new CustomEvent("send", { detail: text }));
  }

  /** Empty the box of a text that is on its way; its draft stays until `release`. */
  hold(text) {
    this.#unsent = text;
    if (this.text === text) this.text = "";
    else this.#saveDraft();
  }

  /** What was on its way has arrived, or comes back by `text`. */
  release() {
    this.#unsent = "";
    this.#saveDraft();
  }

  #key(event) {
    // keyCode 229: an input method that does not report isComposing takes this key.
    if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return;
    if (event.defaultPrevented) return; // the list of commands took it
    if (event.shiftKey || event.altKey) return;
    event.preventDefault();
    this.#submit();
  }

  #changed() {
    this.#grow();
    this.#saveDraft();
    this.#checkLength();
  }

  #checkLength() {
    const sentence = tooLong(this.text);
    if (Boolean(sentence) === this.#isLong) return;
    this.#isLong = Boolean(sentence);
    this.dispatchEvent(new CustomEvent("long", { detail: sentence }));
  }

  #saveDraft() {
    const text = [this.#unsent, this.text].filter(Boolean).join("\n");
    store(this.#keyOf(DRAFT_PREFIX), text ? { text, at: Date.now() } : null);
  }

  #keyOf(prefix) {
    return `${prefix}${this.#owner}:${this.#place}`;
  }

  #routeChanged() {
    const { value } = this.#route;
    this.#explainRoute();
    if (this.#isNew) store(this.#keyOf(ROUTE_PREFIX), value);
    else this.dispatchEvent(new CustomEvent("route", { detail: value }));
  }

  #explainRoute() {
    const [option] = this.#route.selectedOptions;
    document.getElementById("route-help").textContent = option?.dataset.help ?? "";
  }

  /** Browsers without `field-sizing` are told the height; the style sheet caps it. */
  #grow() {
    if (CSS.supports("field-sizing", "content")) return;
    this.#area.style.height = "auto";
    this.#area.style.height = `${this.#area.scrollHeight + 2}px`;
  }
}

/** Translate a picker's value into a frame's `model` and `tier`. */
export function routeOf(value) {
  if (value.startsWith("model:")) return { model: value.slice(6), tier: null };
  if (value.startsWith("tier:")) return { model: null, tier: Number(value.slice(5)) };
  return { model: null, tier: value === "auto" ? "auto" : null };
}

function hasOption(select, value) {
  return [...select.options].some((option) => option.value === value);
}

function load(key) {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "null");
  } catch {
    return null;
  }
}

function store(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Storage may be full or switched off; then drafts simply do not outlive the page.
  }
}

function dropOldDrafts() {
  try {
    const oldest = Date.now() - DRAFT_DAYS * DAY_MS;
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(DRAFT_PREFIX) && !(load(key)?.at > oldest)) store(key, null);
    }
  } catch {
    // As above.
  }
}
