/**
 * How a video begins: words, a source, a seed; asked for once everything is there.
 */

import { part } from "./dom.js";
import { suggest } from "./examples.js";

/**
 * @typedef {import("./live.js").Live} Live
 * @typedef {import("./script.js").Timeline} Timeline
 */

export class Beginning {
  #prompt = part("prompt", HTMLTextAreaElement);
  #seed = part("seed", HTMLInputElement);
  #busy = false;
  #live;
  #with;

  /**
   * @param {Live} live
   * @param {{sources: import("./sources.js").Sources, camera: import("./camera.js").Camera,
   *   connection: import("./connection.js").Connection, complain: (error: unknown) => void,
   *   asked: (waiting: boolean) => void}} others   `asked`: something is on its way, or nothing is
   */
  constructor(live, others) {
    this.#live = live;
    this.#with = others;
    part("dice", HTMLButtonElement).addEventListener("click", () => {
      this.#seed.value = String(crypto.getRandomValues(new Uint32Array(1))[0] % 100_000);
    });
  }

  /** @returns {number | null} the seed that was written, or none */
  get seed() {
    const value = this.#seed.value.trim();
    return /^\d{1,15}$/.test(value) ? Number(value) : null;
  }

  /** Prompts that this model understands. @param {string} model */
  suggest(model) {
    suggest(model, (words) => {
      this.#prompt.value = words;
      this.begin();
    });
  }

  /** @param {Timeline} timeline */
  play(timeline) {
    this.#prompt.value = timeline.events[0].prompt;
    return this.begin(timeline);
  }

  /** @param {Timeline | null} [timeline] */
  async begin(timeline = null) {
    const { sources, camera, connection, complain, asked } = this.#with;
    const prompt = timeline ? timeline.events[0].prompt : this.#prompt.value.trim();
    if (!prompt) {
      this.#prompt.focus();
      return complain("Say what the video shows, then press Enter.");
    }
    if (!connection.up) return complain("There is no connection to the server yet. It is tried again by itself.");
    if (this.#busy) return undefined;
    this.#busy = true;
    asked(true);
    try {
      const source = await sources.prepare();
      camera.close();
      if (source.mode === "camera") await camera.open();
      this.#live.start({ prompt, seed: timeline?.seed ?? this.seed, timeline, ...source });
    } catch (error) {
      asked(false);
      complain(error);
    } finally {
      this.#busy = false;
    }
    return undefined;
  }

  /** It has begun: now the camera is listened to. */
  begun() {
    const { sources, camera, connection } = this.#with;
    const { welcome } = this.#live;
    if (sources.mode !== "camera" || !welcome) return;
    camera.run({ ...welcome, waiting: () => connection.waiting, send: (bytes) => connection.sendBytes(bytes) });
  }
}
