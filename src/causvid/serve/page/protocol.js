/**
 * What goes over the socket: messages as JSON, frames as small binary packets.
 *
 * Knows bytes and the order of a conversation; nothing of the page.
 */

/**
 * @typedef {"jpeg" | "webp" | "h264"} Codec
 * @typedef {object} Packet
 * @property {Codec} codec
 * @property {boolean} key   decodes without the packets before it
 * @property {boolean} first   opens a chunk
 * @property {number} branch
 * @property {number} sequence   rises by one for every frame on this socket
 * @property {number} frame   its number in its branch
 * @property {number} pts   milliseconds within the branch
 * @property {Uint8Array<ArrayBuffer>} payload
 *
 * @typedef {Record<string, number>} Timing   seconds spent, by what on
 * @typedef {{type: "welcome", session: string, model: string, fps: number, size: [number, number],
 *   chunk_frames: number, codec: Codec, transitions: string[], limits: Record<string, unknown>}} Welcome
 * @typedef {{type: "started", branch: number, seed: number, prompt: string}} Started
 * @typedef {{type: "chunk", branch: number, chunk: number, frame: number, frames: number, prompt: string,
 *   kept: [number, number], thumbnail: string, timing: Timing}} Chunk
 * @typedef {{type: "prompted", id: number, frame: number, prompt: string, transition: string,
 *   branch: number}} Prompted
 * @typedef {{type: "rewound", branch: number, chunk: number, frame: number}} Rewound
 * @typedef {{type: "branched", id: number, branch: number, parent: number, chunk: number,
 *   frame: number}} Branched
 * @typedef {{type: "switched", branch: number, chunk: number, frame: number}} Switched
 * @typedef {{type: "paused"} | {type: "resumed"} | {type: "stopped", reason: string}} Turned
 * @typedef {{type: "error", code: string, message: string, fatal: boolean}} Failed
 * @typedef {Welcome | Started | Chunk | Prompted | Rewound | Branched | Switched | Turned | Failed} Message
 */

/** @type {Record<Codec, number>} */
const CODEC_NUMBERS = { jpeg: 1, webp: 2, h264: 3 };
/** @type {Record<number, Codec>} */
const CODECS = { 1: "jpeg", 2: "webp", 3: "h264" };
const HEADER = 20;
const VERSION = 1;
const KEY = 1;
const FIRST = 2;

/** H.264 baseline, level 3: what the server encodes. */
export const H264 = "avc1.42E01E";

/**
 * @param {ArrayBuffer} buffer
 * @returns {Packet}
 */
export function readPacket(buffer) {
  const view = new DataView(buffer);
  const known = view.byteLength >= HEADER && view.getUint8(0) === 0x43 && view.getUint8(1) === 0x56;
  const codec = known ? CODECS[view.getUint8(3)] : undefined;
  if (!codec || view.getUint8(2) !== VERSION) {
    throw new Error("The server sent a frame this page cannot read. Reload the page to get the one that fits it.");
  }
  const flags = view.getUint8(4);
  return {
    codec,
    key: (flags & KEY) !== 0,
    first: (flags & FIRST) !== 0,
    branch: view.getUint16(6, true),
    sequence: view.getUint32(8, true),
    frame: view.getUint32(12, true),
    pts: view.getUint32(16, true),
    payload: new Uint8Array(buffer, HEADER),
  };
}

/**
 * A picture of the camera as a packet.
 * @param {{codec: Codec, sequence: number, pts: number}} about
 * @param {ArrayBuffer} picture
 */
export function writePacket({ codec, sequence, pts }, picture) {
  const bytes = new Uint8Array(HEADER + picture.byteLength);
  const view = new DataView(bytes.buffer);
  bytes.set([0x43, 0x56, VERSION, CODEC_NUMBERS[codec], KEY]);
  view.setUint32(8, sequence, true);
  view.setUint32(12, sequence, true);
  view.setUint32(16, Math.round(pts), true);
  bytes.set(new Uint8Array(picture), HEADER);
  return bytes;
}

/**
 * What this browser decodes, best first. WebCodecs needs https or this very machine.
 * @returns {Promise<Codec[]>}
 */
export async function decodable() {
  /** @type {Codec[]} */
  const always = ["webp", "jpeg"];
  if (!("VideoDecoder" in globalThis)) return always;
  try {
    const answer = await VideoDecoder.isConfigSupported({ codec: H264, optimizeForLatency: true });
    return answer.supported ? ["h264", ...always] : always;
  } catch {
    return always;
  }
}
