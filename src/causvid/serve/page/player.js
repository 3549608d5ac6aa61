/**
 * Shows pictures when they are due.
 *
 * Chunks come in bursts; each picture carries its time in the video. The first one is shown
 * at once and sets the clock, the others follow at the pace of the video. When pictures run
 * out, the next one sets the clock again: late is shown late, nothing is skipped.
 */

/** @typedef {import("./decoder.js").Decoded} Decoded */

/** Milliseconds a picture may be early: half a display refresh. */
const SLACK = 8;
/** Milliseconds behind the clock after which the clock is set again. */
const LATE = 120;

export class Player {
  /** @type {Decoded[]} */
  #queue = [];
  /** Time on the wall minus time in the video; null until a picture sets it. @type {number | null} */
  #offset = null;
  #playing = true;
  #until = -1;
  #asked = false;
  #canvas;
  #context;
  #onShown;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {(decoded: Decoded, queued: number) => void} onShown   right after it was drawn
   */
  constructor(canvas, onShown) {
    this.#canvas = canvas;
    const context = canvas.getContext("2d", { alpha: false });
    if (!context) throw new Error("This browser draws no pictures (canvas is missing).");
    this.#context = context;
    this.#onShown = onShown;
  }

  /** Pictures waiting to be shown. */
  get queued() {
    return this.#queue.length;
  }

  /**
   * @param {number} height
   * @param {number} width
   */
  resize(height, width) {
    if (this.#canvas.width === width && this.#canvas.height === height) return;
    this.#canvas.width = width;
    this.#canvas.height = height;
  }

  /** @param {Decoded} decoded */
  push(decoded) {
    this.#queue.push(decoded);
    this.#wake();
  }

  /** Drops what was not shown. The last picture stays. */
  flush() {
    this.cut(0);
    this.#offset = null;
    this.#until = -1;
  }

  /** Shows a picture from elsewhere, until the next one is due. @param {CanvasImageSource} picture */
  still(picture) {
    this.#context.drawImage(picture, 0, 0, this.#canvas.width, this.#canvas.height);
  }

  play() {
    this.#playing = true;
    this.#until = -1;
    this.#offset = null;
    this.#wake();
  }

  pause() {
    this.#playing = false;
    this.#until = -1;
  }

  /**
   * While paused, show what there is up to this frame, and hold there.
   * @param {number} frame
   */
  playUntil(frame) {
    this.#until = frame;
    this.#offset = null;
    this.#wake();
  }

  /**
   * The first picture of the first chunk of which nothing was shown yet, and the number of pictures before it.
   * @returns {{packet: import("./protocol.js").Packet, before: number} | null}
   */
  get unseen() {
    const before = this.#queue.findIndex(({ packet }) => packet.first);
    return before === -1 ? null : { packet: this.#queue[before].packet, before };
  }

  /** Drops what waits, but for the next pictures. @param {number} count */
  cut(count) {
    for (const { picture } of this.#queue.splice(count)) picture.close();
  }

  /** The last frame of the chunk that is under way, or null where nothing waits. */
  get restOfChunk() {
    const [first] = this.#queue;
    if (!first) return null;
    const next = this.#queue.findIndex((d, index) => index > 0 && d.packet.first);
    const last = this.#queue[next === -1 ? this.#queue.length - 1 : next - 1];
    return last ? last.packet.frame : null;
  }

  #wake() {
    if (this.#asked || !this.#queue.length) return;
    this.#asked = true;
    requestAnimationFrame((now) => this.#tick(now));
  }

  /** @param {number} now */
  #tick(now) {
    this.#asked = false;
    const head = this.#queue[0];
    if (!head || !(this.#playing || head.packet.frame <= this.#until)) return;
    const { pts } = head.packet;
    if (this.#offset === null || now - (pts + this.#offset) > LATE) this.#offset = now - pts;
    if (pts + this.#offset <= now + SLACK) {
      this.#queue.shift();
      this.#draw(head);
    }
    this.#wake();
  }

  /** @param {Decoded} decoded */
  #draw(decoded) {
    const { width, height } = this.#canvas;
    this.#context.drawImage(decoded.picture, 0, 0, width, height);
    decoded.picture.close();
    this.#onShown(decoded, this.#queue.length);
  }
}
