/** Makes the calls of the page about the API: as oneself, or with a pasted token. */

/** Largest part of an answer that is shown, in characters. */
const MAX_SHOWN = 200_000;

/** What a call needs, from what is typed into its fields. */
export function requestOf(method, path, fields, { token = "", csrf = "" } = {}) {
  const call = { address: path, query: new URLSearchParams(), headers: new Headers() };
  for (const field of fields) PLACES[field.where](call, field);
  const { address, query, headers, body } = call;
  if (token) headers.set("Authorization", `Bearer ${token}`);
  else if (method !== "GET") headers.set("X-CSRFToken", csrf);
  const asked = query.size ? `${address}?${query}` : address;
  return [asked, { method, headers, body, credentials: token ? "omit" : "same-origin" }];
}

/** Puts a field where it belongs; empty ones are left out, but for parts of the path. */
const PLACES = {
  body: (call, { value }) => {
    call.body = value;
    call.headers.set("Content-Type", "application/json");
  },
  path: (call, { name, value }) => {
    call.address = call.address.replace(`{${name}}`, encodeURIComponent(value));
  },
  query: (call, { name, value }) => value && call.query.set(name, value),
  header: (call, { name, value }) => value && call.headers.set(name, value),
};

/** The text of an answer as it is shown: JSON on lines of its own. */
export function readable(text, type) {
  if (!type.startsWith("application/json")) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** One call on the page. */
class Call {
  constructor(section) {
    this.section = section;
    this.form = section.querySelector(".api-try");
    this.answer = section.querySelector(".api-answer");
    this.outcome = section.querySelector("[data-outcome]");
    this.send = section.querySelector("[data-send]");
    this.stop = section.querySelector("[data-stop]");
    this.form.hidden = false;
    this.send.addEventListener("click", () => this.run());
    this.stop.addEventListener("click", () => this.reading?.abort());
  }

  get fields() {
    return [...this.form.querySelectorAll("[data-in]")].map((input) => ({
      where: input.dataset.in,
      name: input.dataset.field,
      value: input.value,
    }));
  }

  async run() {
    const { method, path } = this.section.dataset;
    this.reading = new AbortController();
    this.begin();
    try {
      const [address, options] = requestOf(method, path, this.fields, {
        token: document.getElementById("api-token").value.trim(),
        csrf: document.querySelector("#who [name=csrfmiddlewaretoken]").value,
      });
      const response = await fetch(address, { ...options, signal: this.reading.signal });
      this.outcome.textContent = `${response.status} ${response.statusText}`.trim();
      await this.show(response);
    } catch (error) {
      const left = error.name === "AbortError";
      this.outcome.textContent = left ? "No longer read" : `Not sent: ${error.message}`;
    } finally {
      this.send.disabled = false;
      this.stop.hidden = true;
    }
  }

  begin() {
    this.answer.hidden = false;
    this.answer.textContent = "";
    this.outcome.textContent = "Waiting …";
    this.send.disabled = true;
    this.stop.hidden = false;
  }

  /** Show what comes as it comes. */
  async show(response) {
    const decoder = new TextDecoder();
    let text = "";
    for await (const part of parts(response.body)) {
      text += decoder.decode(part, { stream: true });
      this.answer.textContent = text.slice(0, MAX_SHOWN);
    }
    const type = response.headers.get("Content-Type") ?? "";
    this.answer.textContent = readable(text, type).slice(0, MAX_SHOWN);
  }
}

/** The parts of a body; not every browser lets one iterate over it. */
async function* parts(body) {
  const reader = body?.getReader();
  if (!reader) return;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

if (typeof document !== "undefined" && document.getElementById("who")) {
  document.getElementById("who").hidden = false;
  for (const section of document.querySelectorAll(".api-call")) new Call(section);
}
