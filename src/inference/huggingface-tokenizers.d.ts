// The package's own declarations import each other without file endings, which module resolution "NodeNext" does
// not follow, so all its types would be `any`. This declares the part that is used.
declare module '@huggingface/tokenizers' {
  export class Tokenizer {
    /** Throws on a definition it cannot run. */
    constructor(tokenizerJson: object, tokenizerConfig: object);
    /** Special tokens are added; `ids` are not cut or padded. */
    encode(text: string): { ids: number[] };
  }
}
