/**
 * One socket to the server, opened again when it breaks.
 *
 * Events: "message" (detail: Message), "packet" (detail: Packet), "up", and "down" (detail:
 * what happens next: "again" by itself, "asleep" until somebody is here, or "token" is missing).
 */

import { decodable, readPacket } from "./protocol.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;
/** What browsers call a socket that broke, or that never opened. */
const BROKEN = 1006;
/** The server's word for leaving: we were idle, or it ends. */
const LEAVING = 1001;
const SIGNS_OF_LIFE = ["pointerdown", "keydown", "focus"];

export class Connection extends EventTarget {
  /** @type {WebSocket | null} */
  #socket = null;
  #wait = FIRST_WAIT;
  #token;
  #credits;
  #welcomed;

  /**
   * @param {string} token   empty where the server asks for none
   * @param {number} credits   frames we are willing to have in flight
   * @param {() => Promise<boolean>} welcomed   whether the server would take our token
   */
  constructor(token, credits, welcomed) {
    super();
    this.#token = token;
    this.#credits = credits;
    this.#welcomed = welcomed;
    addEventListener("online", () => this.open());
  }

  get up() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Bytes that wait to be sent. */
  get waiting() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  async open() {
    const codecs = await decodable();
    if (this.#socket !== null) return;
    const url = new URL("v1/stream", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.hash = url.search = "";
    const protocols = this.#token ? ["causvid.v1", `token.${this.#token}`] : ["causvid.v1"];
    const socket = new WebSocket(url, protocols);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => {
      this.send({ type: "hello", codecs, credits: this.#credits });
    });
    socket.addEventListener("message", (event) => this.#receive(event.data));
    socket.addEventListener("close", (event) => this.#closed(event));
    this.#socket = socket;
  }

  /** @param {Record<string, unknown>} message */
  send(message) {
    if (this.up) this.#socket?.send(JSON.stringify(message));
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes */
  sendBytes(bytes) {
    if (this.up) this.#socket?.send(bytes);
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    if (typeof data !== "string") {
      this.#tell("packet", readPacket(data));
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "welcome") {
      this.#wait = FIRST_WAIT;
      this.#tell("up", null);
    }
    this.#tell("message", message);
  }

  /** @param {CloseEvent} event */
  async #closed({ code }) {
    const opened = code !== BROKEN;
    this.#socket = null;
    if (!opened && !(await this.#welcomed())) {
      this.#tell("down", "token");
    } else if (code === LEAVING) {
      this.#tell("down", "asleep");
      this.#sleep();
    } else {
      const wait = this.#wait * (0.75 + Math.random() / 2);
      this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
      this.#tell("down", "again");
      setTimeout(() => this.open(), wait);
    }
  }

  /** Take no place on the server until somebody is here. */
  #sleep() {
    const awake = new AbortController();
    const wake = () => {
      awake.abort();
      this.open();
    };
    for (const sign of SIGNS_OF_LIFE) addEventListener(sign, wake, { signal: awake.signal });
  }

  /**
   * @param {string} name
   * @param {unknown} detail
   */
  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
