// The package has no types for its bundle; this declares the part that is used.
declare module 'libheif-js/wasm-bundle.js' {
  interface HeifImage {
    readonly handle: unknown;
    get_width(): number;
    get_height(): number;
    is_primary(): boolean;
    free(): void;
  }
  interface HeifDecoder {
    /** The top-level images; none when the file cannot be read. */
    decode(file: Uint8Array): HeifImage[];
    /** Null when libheif had no memory for one. */
    readonly decoder: { delete(): void } | null;
  }
  /** Interleaved RGBA in rows of `stride` bytes. */
  interface DecodedChannel {
    readonly width: number;
    readonly height: number;
    readonly stride: number;
    readonly data: Uint8Array;
  }
  const libheif: {
    readonly ready: Promise<unknown>;
    readonly HeifDecoder: new () => HeifDecoder;
    readonly heif_colorspace: { readonly heif_colorspace_RGB: unknown };
    readonly heif_chroma: { readonly heif_chroma_interleaved_RGBA: unknown };
    /** @returns an object with a code when the image cannot be decoded */
    heif_js_decode_image2(
      handle: unknown,
      colorspace: unknown,
      chroma: unknown,
    ): { readonly image: unknown; readonly channels: DecodedChannel[] } | { readonly code: unknown };
    heif_image_release(image: unknown): void;
  };
  export default libheif;
}
