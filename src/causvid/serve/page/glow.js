/**
 * The light of the picture on the page, and the noise a video begins as.
 *
 * The page has no colour of its own: what colour there is comes from the picture. It is drawn
 * very small and blown up by the browser, which costs nothing.
 */

import { prefersStillness } from "./dom.js";

const SIDE = 16;
/** How much of the new picture enters the light each time; low is slow. */
const SHARE = 0.18;
const EVERY = 120;
const VIVID = "saturate(1.4)";
/** The part of the picture, from either side, that lights its half of the page. */
const EDGE = 0.3;
const NOISE_EVERY = 110;
/** Seconds in which the noise level goes up and down once, and between which levels. */
const BREATH = 9;
const SIGMAS = [0.52, 0.8];
/** The noise: its mean, and how far grey and each colour swing. */
const MIDDLE = 92;
const GREY = 90;
const COLOUR = 60;

export class Glow {
  #context;
  #root = document.documentElement;
  #last = 0;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    canvas.width = canvas.height = SIDE;
    this.#context = canvas.getContext("2d", { willReadFrequently: true });
  }

  /** @param {HTMLCanvasElement} picture */
  follow(picture) {
    const now = performance.now();
    const still = prefersStillness();
    if (!this.#context || now - this.#last < (still ? 10 * EVERY : EVERY)) return;
    this.#context.filter = VIVID;
    this.#context.globalAlpha = this.#last ? SHARE : 1;
    this.#last = now;
    const { width, height } = picture;
    // A picture lights the wall beside it with what is near its edges.
    const edge = width * EDGE;
    this.#context.drawImage(picture, 0, 0, edge, height, 0, 0, SIDE / 2, SIDE);
    this.#context.drawImage(picture, width - edge, 0, edge, height, SIDE / 2, 0, SIDE / 2, SIDE);
    this.#tint();
  }

  /** The mean colour, for the few lines that carry one. */
  #tint() {
    const data = this.#context?.getImageData(0, 0, SIDE, SIDE).data ?? [];
    const sum = [0, 0, 0];
    for (let i = 0; i < data.length; i += 4) for (let c = 0; c < 3; c += 1) sum[c] += data[i + c];
    const mean = sum.map((value) => Math.round(value / (SIDE * SIDE)));
    this.#root.style.setProperty("--tint", `rgb(${mean.join(" ")})`);
  }
}

/**
 * A picture that is not there yet: an evening at the noise levels a video begins with,
 * (1 - sigma) * picture + sigma * noise.
 */
export class Noise {
  #timer = 0;
  #began = performance.now();

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {() => void} onDrawn
   */
  start(canvas, onDrawn) {
    this.stop();
    const context = canvas.getContext("2d", { alpha: false });
    if (!context) return;
    const evening = paintEvening(canvas.width, canvas.height);
    const draw = () => {
      this.#draw(context, evening);
      onDrawn();
    };
    draw();
    if (!prefersStillness()) this.#timer = window.setInterval(draw, NOISE_EVERY);
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = 0;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Uint8ClampedArray} evening
   */
  #draw(context, evening) {
    const { width, height } = context.canvas;
    const picture = context.createImageData(width, height);
    const turn = ((performance.now() - this.#began) / 1000 / BREATH) * 2 * Math.PI;
    const sigma = SIGMAS[0] + (SIGMAS[1] - SIGMAS[0]) * (0.5 + Math.cos(turn) / 2);
    const { data } = picture;
    for (let i = 0; i < data.length; i += 4) {
      const grey = bell() * GREY;
      for (let c = i; c < i + 3; c += 1) {
        data[c] = (1 - sigma) * evening[c] + sigma * (MIDDLE + grey + bell() * COLOUR);
      }
      data[i + 3] = 255;
    }
    context.putImageData(picture, 0, 0);
  }
}

/** Between -1 and 1, most often near 0. */
function bell() {
  return Math.random() + Math.random() - 1;
}

/**
 * Sky, sun and ground.
 * @param {number} width
 * @param {number} height
 * @returns {Uint8ClampedArray}
 */
function paintEvening(width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) return new Uint8ClampedArray(4 * width * height);
  const sky = context.createLinearGradient(0, 0, 0, height * 0.7);
  sky.addColorStop(0, "#3a1f5c");
  sky.addColorStop(0.6, "#d4493f");
  sky.addColorStop(1, "#ff9d2e");
  context.fillStyle = sky;
  context.fillRect(0, 0, width, height);
  context.fillStyle = "#ffe08a";
  context.beginPath();
  context.arc(width / 2, height * 0.56, height * 0.17, 0, 2 * Math.PI);
  context.fill();
  context.fillStyle = "#10243a";
  context.fillRect(0, height * 0.7, width, height);
  return context.getImageData(0, 0, width, height).data;
}
