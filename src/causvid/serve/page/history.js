/**
 * What was made so far: chunks, and the branches they lie on.
 *
 * Every branch holds its whole path from the beginning, so that what happens to one branch
 * never changes another. Pure data; knows nothing of the page or the socket.
 */

/**
 * @typedef {import("./protocol.js").Chunk} ChunkMessage
 * @typedef {object} Piece   a chunk, as the page remembers it
 * @property {number} chunk
 * @property {number} frame   number of its first frame
 * @property {number} frames
 * @property {string} prompt
 * @property {string} thumbnail
 *
 * @typedef {object} Branch
 * @property {number} id
 * @property {number | null} parent
 * @property {number} from   the chunk it begins with
 * @property {Piece[]} path   all its chunks, those of its ancestors included
 * @property {Map<number, string>} transitions   how the prompt changed, by frame
 *
 * @typedef {{time: number, prompt: string, transition: string}} Event
 */

export class History {
  /** @type {Map<number, Branch>} */
  branches = new Map();
  present = 0;
  seed = 0;
  /** Chunks one may go back to, on the present branch. @type {[number, number]} */
  kept = [0, -1];

  /** @returns {Branch | undefined} */
  get branch() {
    return this.branches.get(this.present);
  }

  /** @returns {Piece[]} */
  get path() {
    return this.branch?.path ?? [];
  }

  /** @param {{branch: number, seed: number}} started */
  start({ branch, seed }) {
    this.branches = new Map([[branch, { id: branch, parent: null, from: 0, path: [], transitions: new Map() }]]);
    this.present = branch;
    this.seed = seed;
    this.kept = [0, -1];
  }

  /** @param {ChunkMessage} message */
  add({ branch: id, chunk, frame, frames, prompt, kept, thumbnail }) {
    const branch = this.branches.get(id);
    if (!branch) return;
    const piece = { chunk, frame, frames, prompt, thumbnail };
    branch.path = [...branch.path.filter((p) => p.chunk < chunk), piece];
    if (id === this.present) this.kept = kept;
  }

  /** @param {{branch: number, frame: number, transition: string}} prompted */
  prompted({ branch, frame, transition }) {
    this.branches.get(branch)?.transitions.set(frame, transition);
  }

  /** @param {{branch: number, chunk: number, frame: number}} rewound */
  rewound({ branch: id, chunk, frame }) {
    const branch = this.branches.get(id);
    if (!branch) return;
    branch.path = branch.path.filter((piece) => piece.chunk < chunk);
    branch.from = Math.min(branch.from, chunk);
    for (const changed of branch.transitions.keys()) {
      if (changed >= frame) branch.transitions.delete(changed);
    }
    this.#keepUpTo(chunk);
  }

  /** @param {{branch: number, parent: number, chunk: number, frame: number}} branched */
  branched({ branch, parent, chunk, frame }) {
    const old = this.branches.get(parent);
    const path = (old?.path ?? []).filter((piece) => piece.chunk < chunk);
    const transitions = new Map([...(old?.transitions ?? [])].filter(([changed]) => changed < frame));
    this.branches.set(branch, { id: branch, parent, from: chunk, path, transitions });
    this.present = branch;
    this.#keepUpTo(chunk);
  }

  /** @param {{branch: number}} switched */
  switched({ branch }) {
    this.present = branch;
    const last = this.path.at(-1);
    this.kept = [last?.chunk ?? 0, last?.chunk ?? -1]; // until the next chunk says
  }

  /** @param {number} chunk */
  isKept(chunk) {
    return chunk >= this.kept[0] && chunk <= this.kept[1];
  }

  /**
   * The prompts of the present branch, and when each began.
   * @param {number} fps
   * @returns {Event[]}
   */
  events(fps) {
    /** @type {Event[]} */
    const events = [];
    for (const { prompt, frame } of this.path) {
      if (events.at(-1)?.prompt === prompt) continue;
      const time = Math.round((frame / fps) * 1000) / 1000;
      events.push({ time, prompt, transition: this.branch?.transitions.get(frame) ?? "soft" });
    }
    return events;
  }

  /** @param {number} chunk */
  #keepUpTo(chunk) {
    this.kept = [Math.min(this.kept[0], chunk), chunk - 1];
  }
}
