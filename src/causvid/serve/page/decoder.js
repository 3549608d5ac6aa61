/**
 * Packets become pictures, in the order they came in.
 *
 * Two ways: still pictures (JPEG, WebP), which every browser decodes, and H.264 through
 * WebCodecs. `reset` forgets what is still on its way.
 */

import { H264 } from "./protocol.js";

/**
 * @typedef {import("./protocol.js").Packet} Packet
 * @typedef {ImageBitmap | VideoFrame} Picture
 * @typedef {{packet: Packet, picture: Picture}} Decoded
 */

export class Decoder {
  /** @type {Promise<void>} */
  #tail = Promise.resolve();
  #epoch = 0;
  /** @type {VideoDecoder | null} */
  #video = null;
  /** @type {Map<number, Packet>} */
  #coming = new Map();
  #needsKey = true;
  #onPicture;
  #onError;

  /**
   * @param {(decoded: Decoded) => void} onPicture
   * @param {() => void} onError   a picture could not be decoded
   */
  constructor(onPicture, onError) {
    this.#onPicture = onPicture;
    this.#onError = onError;
  }

  /** @param {Packet} packet */
  push(packet) {
    if (packet.codec === "h264") this.#pushVideo(packet);
    else this.#pushStill(packet);
  }

  /** Nothing that was pushed before will come out any more. */
  reset() {
    this.#epoch += 1;
    this.#coming.clear();
    this.#needsKey = true;
    if (this.#video?.state === "configured") this.#video.reset();
  }

  /** @param {Packet} packet */
  #pushStill(packet) {
    const epoch = this.#epoch;
    const blob = new Blob([packet.payload], { type: `image/${packet.codec}` });
    const made = createImageBitmap(blob).catch(() => null);
    this.#tail = this.#tail.then(async () => {
      const picture = await made;
      if (epoch !== this.#epoch) picture?.close();
      else if (picture) this.#onPicture({ packet, picture });
      else this.#onError();
    });
  }

  /** @param {Packet} packet */
  #pushVideo(packet) {
    if (this.#needsKey && !packet.key) {
      this.#onError();
      return;
    }
    const video = this.#decoder();
    this.#needsKey = false;
    this.#coming.set(packet.sequence, packet);
    const type = packet.key ? "key" : "delta";
    video.decode(new EncodedVideoChunk({ type, timestamp: packet.sequence, data: packet.payload }));
  }

  #decoder() {
    if (this.#video === null || this.#video.state === "closed") {
      this.#video = new VideoDecoder({
        output: (picture) => this.#decoded(picture),
        error: () => this.#broken(),
      });
    }
    if (this.#video.state === "unconfigured") {
      this.#video.configure({ codec: H264, optimizeForLatency: true });
    }
    return this.#video;
  }

  /** @param {VideoFrame} picture */
  #decoded(picture) {
    const packet = this.#coming.get(picture.timestamp);
    this.#coming.delete(picture.timestamp);
    if (packet) this.#onPicture({ packet, picture });
    else picture.close();
  }

  #broken() {
    this.#coming.clear();
    this.#needsKey = true;
    this.#onError();
  }
}
