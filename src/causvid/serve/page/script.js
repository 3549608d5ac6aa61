/**
 * The script: which prompt at which second, to read, edit, keep and play.
 *
 * The file is the timeline that the command line and Python read too. What is wrong with one
 * is said in a sentence; the server checks it again.
 */

import { clock, fit, icon, keep, make, part } from "./dom.js";

/**
 * @typedef {import("./history.js").Event} Event
 * @typedef {{causvid_timeline: 1, seed?: number, seconds?: number, model?: string, events: Event[]}} Timeline
 */

const TRANSITIONS = ["soft", "blend", "recache", "cut"];

/**
 * A timeline out of a file.
 * @param {string} text
 * @returns {Timeline}
 * @throws {Error} with a sentence for people
 */
export function readTimeline(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error("This file is not JSON. Choose a timeline that was saved here or by causvid.");
  }
  if (value?.causvid_timeline !== 1 || !Array.isArray(value.events) || !value.events.length) {
    throw new Error('This is no timeline: it needs "causvid_timeline": 1 and a list of events.');
  }
  for (const [index, event] of value.events.entries()) {
    const good = typeof event?.prompt === "string" && event.prompt.trim() && Number.isFinite(event.time);
    if (!good) throw new Error(`Event ${index + 1} needs a time in seconds and a prompt.`);
  }
  if (value.events[0].time !== 0) throw new Error("The first event of a timeline is at time 0.");
  return value;
}

/**
 * Seconds out of "1:05", "65" or "0:04.5"; NaN where it is neither.
 * @param {string} text
 */
export function readClock(text) {
  const match = /^\s*(?:(\d+):)?(\d+(?:\.\d+)?)\s*$/.exec(text);
  return match ? Number(match[1] ?? 0) * 60 + Number(match[2]) : NaN;
}

export class Script {
  #panel = part("script", HTMLDialogElement);
  #rows = part("script-rows", HTMLOListElement);
  #fault = part("script-fault", HTMLElement);
  #edited = false;
  #playing = false;
  /** What a file said beside its events. @type {Partial<Timeline>} */
  #beside = {};
  /** What an event said beside what is shown. @type {WeakMap<Element, Partial<Event>>} */
  #more = new WeakMap();
  #source;
  #onPlay;

  /**
   * @param {() => {events: Event[], seed: number | null, model: string}} source   what was played so far
   * @param {(timeline: Timeline) => void} onPlay
   */
  constructor(source, onPlay) {
    this.#source = source;
    this.#onPlay = onPlay;
    part("script-add", HTMLButtonElement).addEventListener("click", () => this.#add());
    part("script-play", HTMLButtonElement).addEventListener("click", () => this.#play());
    part("script-export", HTMLButtonElement).addEventListener("click", () => this.#export());
    part("script-close", HTMLButtonElement).addEventListener("click", () => this.toggle());
    const file = part("script-file", HTMLInputElement);
    part("script-import", HTMLButtonElement).addEventListener("click", () => file.click());
    file.addEventListener("change", () => this.#import(file));
    this.#rows.addEventListener("input", () => this.#touched());
  }

  get open() {
    return this.#panel.open;
  }

  toggle() {
    if (this.#panel.open) {
      this.#panel.close();
      return;
    }
    this.follow();
    this.#panel.show();
  }

  /** Show what was played, unless somebody is editing. */
  follow() {
    if (this.#edited) return;
    const { events } = this.#source();
    const shown = JSON.stringify(this.#read(false));
    if (shown !== JSON.stringify(events)) this.#draw(events);
  }

  /** A new video begins: follow it, unless it is this script that is played. */
  reset() {
    if (this.#playing) {
      this.#playing = false;
      return;
    }
    this.#edited = false;
    this.#beside = {};
    this.follow();
  }

  /** @param {Event[]} events */
  #draw(events) {
    this.#rows.replaceChildren(...events.map((event) => this.#row(event)));
    this.#fault.textContent = "";
  }

  /** @param {Event} event */
  #row(event) {
    const { time, prompt, transition } = event;
    const at = make("input", { class: "at", value: clock(time, time % 1 ? 1 : 0), "aria-label": "Time" });
    at.dataset.time = String(time);
    at.addEventListener("input", () => delete at.dataset.time);
    const words = make("textarea", { class: "said", rows: "1", "aria-label": "Prompt" });
    words.value = prompt;
    fit(words);
    const how = make("select", { "aria-label": "Transition" });
    for (const name of TRANSITIONS) how.append(make("option", { value: name }, name));
    how.value = transition;
    const remove = make("button", { type: "button", class: "plain", "aria-label": "Remove this line" }, icon("close"));
    const row = make("li", {}, at, words, how, remove);
    this.#more.set(row, event);
    remove.addEventListener("click", () => {
      row.remove();
      this.#touched();
    });
    return row;
  }

  #touched() {
    this.#edited = true;
    this.#fault.textContent = "";
  }

  #add() {
    const last = this.#read(false).at(-1);
    const row = this.#row({ time: last ? last.time + 4 : 0, prompt: "", transition: "soft" });
    this.#rows.append(row);
    this.#touched();
    row.querySelector("textarea")?.focus();
  }

  /**
   * @param {boolean} strict   say what is wrong, instead of leaving it out
   * @returns {Event[]}
   */
  #read(strict) {
    /** @type {Event[]} */
    const events = [];
    for (const row of this.#rows.children) {
      const [at, how] = [row.querySelector("input"), row.querySelector("select")];
      const prompt = row.querySelector("textarea")?.value.trim() ?? "";
      const time = at?.dataset.time === undefined ? readClock(at?.value ?? "") : Number(at.dataset.time);
      if (strict && Number.isNaN(time)) throw new Error(`“${at?.value}” is no time. Write seconds, or 1:05.`);
      if (strict && !prompt) throw new Error("A line has no words yet. Write some, or remove it.");
      if (Number.isNaN(time)) continue;
      events.push({ ...this.#more.get(row), time, prompt, transition: how?.value ?? "soft" });
    }
    if (!strict) return events;
    events.sort((a, b) => a.time - b.time);
    if (events[0]?.time !== 0) throw new Error("The script begins at 0:00. Give its first line that time.");
    return events;
  }

  /** @returns {Timeline | null} */
  #timeline() {
    try {
      const { seed, model } = this.#source();
      const events = this.#read(true);
      const about = { ...(seed === null ? {} : { seed }), ...(model ? { model } : {}), ...this.#beside };
      return { causvid_timeline: 1, ...about, events };
    } catch (error) {
      this.#fault.textContent = error instanceof Error ? error.message : String(error);
      return null;
    }
  }

  #play() {
    const timeline = this.#timeline();
    if (!timeline) return;
    this.#playing = this.#edited = true;
    this.#onPlay(timeline);
  }

  /** Marks the line that is being shown. @param {number} seconds */
  mark(seconds) {
    if (!this.#panel.open) return;
    const times = this.#read(false).map(({ time }) => time);
    const now = times.findLastIndex((time) => time <= seconds);
    for (const [index, row] of [...this.#rows.children].entries()) {
      if (index === now) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }

  #export() {
    const timeline = this.#timeline();
    if (!timeline) return;
    keep(new Blob([JSON.stringify(timeline, null, 2) + "\n"], { type: "application/json" }), "timeline.json");
  }

  /** @param {HTMLInputElement} input */
  async #import(input) {
    const [file] = input.files ?? [];
    input.value = "";
    if (!file) return;
    try {
      const { events, causvid_timeline: _, ...beside } = readTimeline(await file.text());
      this.#draw(events.map((event) => ({ ...event, transition: event.transition ?? "soft" })));
      this.#beside = beside;
      this.#edited = true;
    } catch (error) {
      this.#fault.textContent = error instanceof Error ? error.message : String(error);
    }
  }
}
