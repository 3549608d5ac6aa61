/**
 * What a video starts from: words alone, a picture, a video, or the camera.
 */

import { make, part } from "./dom.js";

/**
 * @typedef {"text" | "image" | "extend" | "edit" | "camera"} Mode
 * @typedef {{mode: Mode, image: string | null, video: string | null, strength: number | null}} Source
 */

const IMAGES = ["image/jpeg", "image/png", "image/webp"];
const VIDEOS = ["video/mp4", "video/webm", "video/x-matroska", "video/quicktime"];
const ACCEPTED = "Choose a JPEG, PNG or WebP picture, or an MP4, WebM, MKV or MOV video.";
/** What browsers call nothing or something else, by the end of the name. */
const BY_SUFFIX = /** @type {Record<string, string>} */ ({ mkv: "video/x-matroska", mov: "video/quicktime" });

export class Sources {
  #form = part("sources", HTMLFieldSetElement);
  #file = part("source-file", HTMLInputElement);
  #drop = part("source-drop", HTMLElement);
  #preview = part("source-preview", HTMLElement);
  #name = part("source-name", HTMLElement);
  #strength = part("strength", HTMLInputElement);
  /** @type {File | null} */
  #chosen = null;
  #upload;
  #complain;

  /**
   * @param {{upload: (file: Blob, type: string) => Promise<string>, complain: (message: string) => void,
   *   open: () => boolean}} with_   `upload` gives the id of the upload; files are taken while `open`
   */
  constructor({ upload, complain, open }) {
    this.#upload = upload;
    this.#complain = complain;
    this.#form.addEventListener("change", (event) => {
      if (event.target instanceof HTMLInputElement && event.target.name === "source") this.#forget();
      this.#arrange();
    });
    this.#file.addEventListener("change", () => {
      const [file] = this.#file.files ?? [];
      if (file) this.take(file);
      this.#file.value = "";
    });
    part("source-pick", HTMLButtonElement).addEventListener("click", () => this.#file.click());
    this.#listenForDrops(open);
    this.#arrange();
  }

  /** @returns {Mode} */
  get mode() {
    const kind = this.#radio("source");
    if (kind === "video") return this.#radio("video-use") === "edit" ? "edit" : "extend";
    return kind === "image" || kind === "camera" ? kind : "text";
  }

  get strength() {
    return Number(this.#strength.value);
  }

  /**
   * A file that was picked or dropped.
   * @param {File} file
   */
  take(file) {
    const type = typeOf(file);
    if (![...IMAGES, ...VIDEOS].includes(type)) {
      this.#complain(`${file.name} cannot be read here. ${ACCEPTED}`);
      return;
    }
    this.#select(IMAGES.includes(type) ? "image" : "video");
    this.#forget();
    this.#chosen = file;
    const shown = make(IMAGES.includes(type) ? "img" : "video");
    shown.src = URL.createObjectURL(file);
    if (shown instanceof HTMLVideoElement) shown.muted = true;
    else shown.alt = "";
    this.#preview.replaceChildren(shown);
    this.#name.textContent = file.name;
    this.#arrange();
  }

  /**
   * Everything `start` wants to know; uploads the file.
   * @returns {Promise<Source>}
   * @throws {Error} with a sentence for people
   */
  async prepare() {
    const mode = this.mode;
    /** @type {Source} */
    const source = { mode, image: null, video: null, strength: null };
    if (mode === "edit" || mode === "camera") source.strength = this.strength;
    if (mode === "text" || mode === "camera") return source;
    if (!this.#chosen) throw new Error(mode === "image" ? "Choose a picture first." : "Choose a video first.");
    const id = await this.#upload(this.#chosen, typeOf(this.#chosen));
    if (mode === "image") source.image = id;
    else source.video = id;
    return source;
  }

  /** @param {string} name */
  #radio(name) {
    const checked = this.#form.querySelector(`input[name="${name}"]:checked`);
    return checked instanceof HTMLInputElement ? checked.value : "";
  }

  /** @param {string} kind */
  #select(kind) {
    const input = this.#form.querySelector(`input[name="source"][value="${kind}"]`);
    if (input instanceof HTMLInputElement) input.checked = true;
  }

  #forget() {
    this.#chosen = null;
    const shown = this.#preview.firstElementChild;
    if (shown instanceof HTMLImageElement || shown instanceof HTMLVideoElement) URL.revokeObjectURL(shown.src);
    this.#preview.replaceChildren();
    this.#name.textContent = "";
  }

  /** @param {() => boolean} open */
  #listenForDrops(open) {
    const mark = (/** @type {boolean} */ on) => document.body.classList.toggle("dropping", on);
    addEventListener("dragover", (event) => {
      if (!open() || !event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      mark(true);
    });
    addEventListener("dragleave", () => mark(false));
    addEventListener("drop", (event) => {
      mark(false);
      const file = event.dataTransfer?.files[0];
      if (!file || !open()) return;
      event.preventDefault();
      this.take(file);
    });
  }

  #arrange() {
    const kind = this.#radio("source");
    const wantsFile = kind === "image" || kind === "video";
    this.#drop.hidden = !wantsFile;
    this.#file.accept = (kind === "image" ? IMAGES : [...VIDEOS, ".mkv", ".mov"]).join(",");
    part("source-pick", HTMLButtonElement).textContent = this.#chosen
      ? "Choose another"
      : kind === "image" ? "Choose a picture, or drop one" : "Choose a video, or drop one";
    part("video-use", HTMLElement).hidden = kind !== "video";
    part("strength-row", HTMLElement).hidden = this.mode !== "edit" && this.mode !== "camera";
  }
}

/** @param {File} file */
function typeOf(file) {
  if (file.type && file.type !== "application/octet-stream") return file.type;
  return BY_SUFFIX[file.name.split(".").at(-1)?.toLowerCase() ?? ""] ?? file.type;
}
