/**
 * What a viewer likes: light or dark, crisp or smooth. Remembered where that is allowed.
 */

import { part } from "./dom.js";

export class Taste {
  #screen;
  #root = document.documentElement;

  /** @param {HTMLCanvasElement} screen */
  constructor(screen) {
    this.#screen = screen;
    const theme = recall("theme");
    if (theme === "light" || theme === "dark") this.#root.dataset.theme = theme;
    this.#crispen(recall("crisp") === "yes");
  }

  /** From light to dark, or back. */
  theme() {
    const dark = this.#root.dataset.theme
      ? this.#root.dataset.theme === "dark"
      : !matchMedia("(prefers-color-scheme: light)").matches;
    this.#root.dataset.theme = dark ? "light" : "dark";
    remember("theme", this.#root.dataset.theme);
  }

  crisp() {
    const crisp = !this.#screen.classList.contains("crisp");
    this.#crispen(crisp);
    remember("crisp", crisp ? "yes" : "no");
  }

  /** @param {boolean} crisp */
  #crispen(crisp) {
    this.#screen.classList.toggle("crisp", crisp);
    part("crisp", HTMLButtonElement).setAttribute("aria-pressed", String(crisp));
  }
}

/** @param {string} name */
function recall(name) {
  try {
    return localStorage.getItem(`causvid.${name}`);
  } catch {
    return null;
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
function remember(name, value) {
  try {
    localStorage.setItem(`causvid.${name}`, value);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}
