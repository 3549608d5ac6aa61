/**
 * How it is going: pictures per second, the two waits people feel, and where time goes.
 */

import { make, part } from "./dom.js";

/** Milliseconds over which pictures are counted. */
const SPAN = 2000;
const PARTS = ["queue", "text", "denoise", "commit", "decode", "encode"];

export class Meters {
  /** @type {number[]} */
  #shown = [];
  #fps = part("meter-fps", HTMLElement);
  #first = part("meter-first", HTMLElement);
  #edit = part("meter-edit", HTMLElement);
  #bar = part("meter-bar", HTMLElement);
  #legend = part("meter-legend", HTMLElement);
  #cost = part("meter-cost", HTMLElement);

  reset() {
    this.#shown = [];
    this.#edit.textContent = "–";
    this.#first.textContent = "–";
  }

  /** A picture was drawn. */
  count() {
    const now = performance.now();
    this.#shown.push(now);
    while (this.#shown[0] < now - SPAN) this.#shown.shift();
    const span = now - this.#shown[0];
    if (span > SPAN / 4) this.#fps.textContent = (((this.#shown.length - 1) * 1000) / span).toFixed(1);
  }

  /** The next pictures are counted by themselves. */
  pause() {
    this.#shown = [];
  }

  /** @param {number} milliseconds   from the click to the first picture */
  first(milliseconds) {
    this.#first.textContent = `${(milliseconds / 1000).toFixed(2)} s`;
  }

  /** @param {number} milliseconds   from a prompt to the first picture made from it */
  edit(milliseconds) {
    this.#edit.textContent = `${(milliseconds / 1000).toFixed(2)} s`;
  }

  /**
   * @param {Record<string, number>} timing   seconds
   * @param {number} seconds   of video that were made
   */
  chunk(timing, seconds) {
    const names = [...PARTS.filter((name) => name in timing), ...Object.keys(timing).filter((n) => !PARTS.includes(n))];
    const total = names.reduce((sum, name) => sum + timing[name], 0);
    this.#bar.replaceChildren(...names.map((name) => {
      const piece = make("span", { "data-part": name, title: `${name} ${milliseconds(timing[name])}` });
      piece.style.flexGrow = String(timing[name] / (total || 1));
      return piece;
    }));
    this.#legend.replaceChildren(...names.flatMap((name) => [
      make("dt", {}, make("span", { class: "key", "data-part": name }), name),
      make("dd", {}, milliseconds(timing[name])),
    ]));
    this.#cost.textContent = `${milliseconds(total)} for ${seconds.toFixed(1)} s of video`;
  }
}

/** @param {number} seconds */
function milliseconds(seconds) {
  return seconds < 0.01 ? `${(seconds * 1000).toFixed(1)} ms` : `${Math.round(seconds * 1000)} ms`;
}
