/**
 * The camera as a source: pictures cropped to the video's shape, at the video's pace.
 *
 * A picture is left out where the last one has not left yet: newest first, nothing queues.
 */

import { writePacket } from "./protocol.js";

const QUALITY = 0.85;
/** Bytes waiting in the socket above which a picture is left out. */
const FULL = 200_000;

export class Camera {
  /** @type {MediaStream | null} */
  #stream = null;
  #timer = 0;
  #sequence = 0;
  #busy = false;
  #video;

  /** @param {HTMLVideoElement} video   shows the camera's own picture */
  constructor(video) {
    this.#video = video;
  }

  /**
   * Ask for the camera.
   * @throws {Error} with a sentence for people
   */
  async open() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error("The camera needs https, or this very machine (localhost). A video file works anywhere.");
    }
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" }, audio: false });
    } catch (error) {
      const missing = error instanceof DOMException && error.name === "NotFoundError";
      throw new Error(missing ? "No camera was found. A video file works too."
        : "The camera was not allowed. Allow it beside the address, or choose a video file.");
    }
    this.#video.srcObject = this.#stream;
    this.#video.hidden = false;
    await this.#video.play();
  }

  /**
   * @param {{fps: number, size: [number, number], waiting: () => number, send: (bytes: Uint8Array<ArrayBuffer>) => void}} to
   */
  run({ fps, size: [height, width], waiting, send }) {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { alpha: false });
    const began = performance.now();
    this.#sequence = 0;
    this.#timer = window.setInterval(async () => {
      if (this.#busy || !context || waiting() > FULL) return;
      this.#busy = true;
      try {
        this.#crop(context, width, height);
        const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
        const about = { codec: /** @type {const} */ ("jpeg"), sequence: this.#sequence++, pts: performance.now() - began };
        send(writePacket(about, await blob.arrayBuffer()));
      } finally {
        this.#busy = false;
      }
    }, 1000 / fps);
  }

  close() {
    clearInterval(this.#timer);
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    this.#video.srcObject = null;
    this.#video.hidden = true;
  }

  /**
   * The middle of the camera's picture, mirrored as in a mirror.
   * @param {OffscreenCanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  #crop(context, width, height) {
    const { videoWidth, videoHeight } = this.#video;
    const scale = Math.min(videoWidth / width, videoHeight / height);
    const [w, h] = [width * scale, height * scale];
    context.setTransform(-1, 0, 0, 1, width, 0);
    context.drawImage(this.#video, (videoWidth - w) / 2, (videoHeight - h) / 2, w, h, 0, 0, width, height);
  }
}
