import { type Document, DOMParser, type Element, type Node, XMLSerializer } from '@xmldom/xmldom';
import type { PhotoMetadata } from './photo-metadata.js';

/** Namespaces of XMP (ISO 16684-1) and of the IPTC photo metadata standard. */
const rdf = 'http://www.w3.org/1999/02/22-rdf-syntax-ns#';
const dc = 'http://purl.org/dc/elements/1.1/';
const iptc = 'http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/';
const xml = 'http://www.w3.org/XML/1998/namespace';

const emptyPacket = `<?xpacket begin="\uFEFF" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="${rdf}">
  <rdf:Description rdf:about=""/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
`;

/** The packet is no XMP that can be read; it is left as it is. */
export class XmpError extends Error {
  override readonly name = 'XmpError';
}

/**
 * An XMP packet as other programs write it. Properties may be in several `rdf:Description`s, as elements or attributes;
 * everything but the three that are set here stays.
 */
export class XmpPacket {
  readonly #document: Document;
  readonly #root: Element;

  /** @throws XmpError */
  constructor(text: string = emptyPacket) {
    this.#document = parse(text);
    const root = this.#document.getElementsByTagNameNS(rdf, 'RDF').item(0);
    if (root === null) throw new XmpError('It has no rdf:RDF.');
    this.#root = root;
  }

  /** The packet that lies in the bytes of a file, as it does in all formats of photos, or undefined. */
  static findIn(bytes: Buffer): XmpPacket | undefined {
    const start = bytes.indexOf('<x:xmpmeta');
    const end = bytes.indexOf('</x:xmpmeta>', start);
    if (start < 0 || end < 0) return undefined;
    try {
      return new XmpPacket(bytes.toString('utf8', start, end + '</x:xmpmeta>'.length));
    } catch (error) {
      // The file may have any bytes; only a sidecar is to be changed.
      if (error instanceof XmpError) return undefined;
      throw error;
    }
  }

  get metadata(): PhotoMetadata {
    return {
      description: this.#textOf(dc, 'description'),
      subjects: this.#itemsOf(dc, 'subject').map(({ textContent }) => textContent ?? ''),
      altText: this.#textOf(iptc, 'AltTextAccessibility'),
    };
  }

  set metadata({ description, subjects, altText }: PhotoMetadata) {
    this.#setText(dc, 'dc:description', description);
    this.#setText(iptc, 'Iptc4xmpCore:AltTextAccessibility', altText);
    this.#setSubjects(subjects);
  }

  toString(): string {
    return new XMLSerializer().serializeToString(this.#document);
  }

  get #descriptions(): Element[] {
    return childrenOf(this.#root, rdf, 'Description');
  }

  /** The first element of a property; there should be one. */
  #find(namespace: string, name: string): Element | undefined {
    return this.#descriptions.flatMap((each) => childrenOf(each, namespace, name))[0];
  }

  #itemsOf(namespace: string, name: string): Element[] {
    const property = this.#find(namespace, name);
    if (property === undefined) return [];
    const lists = ['Alt', 'Bag', 'Seq'].flatMap((kind) => childrenOf(property, rdf, kind));
    return lists.flatMap((list) => childrenOf(list, rdf, 'li'));
  }

  /** A text in several languages: the one for all, or else the first. */
  #textOf(namespace: string, name: string): string {
    const items = this.#itemsOf(namespace, name);
    const chosen = items.find(isDefaultLanguage) ?? items[0] ?? this.#find(namespace, name);
    if (chosen !== undefined) return chosen.textContent ?? '';
    const attributes = this.#descriptions.map((each) => each.getAttributeNS(namespace, name));
    return attributes.find((text) => text !== null) ?? '';
  }

  /** Sets the text for all languages; those in others stay. */
  #setText(namespace: string, qualifiedName: string, text: string): void {
    const name = localNameOf(qualifiedName);
    if (text === this.#textOf(namespace, name)) return;
    const items = this.#itemsOf(namespace, name);
    const item = items.find(isDefaultLanguage);
    if (item !== undefined) {
      item.textContent = text;
      return;
    }
    const added = this.#createItem(text);
    added.setAttributeNS(xml, 'xml:lang', 'x-default');
    const [other] = items;
    // The first one is what programs without languages show.
    if (other !== undefined) other.parentNode?.insertBefore(added, other);
    else this.#replace(namespace, qualifiedName, 'rdf:Alt', [added]);
  }

  #setSubjects(subjects: readonly string[]): void {
    const before = this.metadata.subjects;
    if (subjects.length === before.length && subjects.every((word, index) => word === before[index])) return;
    const items = subjects.map((word) => this.#createItem(word));
    this.#replace(dc, 'dc:subject', 'rdf:Bag', items);
  }

  #createItem(text: string): Element {
    const item = this.#document.createElementNS(rdf, 'rdf:li');
    item.textContent = text;
    return item;
  }

  /** Puts a property in place of what has its name. */
  #replace(namespace: string, qualifiedName: string, listName: string, items: readonly Element[]): void {
    const name = localNameOf(qualifiedName);
    for (const description of this.#descriptions) {
      description.removeAttributeNS(namespace, name);
      for (const old of childrenOf(description, namespace, name)) description.removeChild(old);
    }
    const property = this.#document.createElementNS(namespace, qualifiedName);
    const list = this.#document.createElementNS(rdf, listName);
    property.appendChild(list);
    for (const item of items) list.appendChild(item);
    this.#firstDescription().appendChild(property);
  }

  #firstDescription(): Element {
    const [first] = this.#descriptions;
    if (first !== undefined) return first;
    const created = this.#document.createElementNS(rdf, 'rdf:Description');
    created.setAttributeNS(rdf, 'rdf:about', '');
    this.#root.appendChild(created);
    return created;
  }
}

function parse(text: string): Document {
  let problem: string | undefined;
  const parser = new DOMParser({
    onError: (level, message) => {
      if (level !== 'warning') problem ??= message;
    },
  });
  try {
    const document = parser.parseFromString(text.replace(/^\uFEFF/, ''), 'text/xml');
    if (problem === undefined) return document;
  } catch (error) {
    problem ??= error instanceof Error ? error.message : String(error);
  }
  throw new XmpError(`It is not well-formed XML: ${problem.split('\n')[0] ?? ''}`);
}

function childrenOf(parent: Element, namespace: string, name: string): Element[] {
  return [...parent.childNodes].filter(
    (node): node is Element => isElement(node) && node.namespaceURI === namespace && node.localName === name,
  );
}

function isElement(node: Node): node is Element {
  return node.nodeType === node.ELEMENT_NODE;
}

function isDefaultLanguage(item: Element): boolean {
  return item.getAttributeNS(xml, 'lang') === 'x-default';
}

function localNameOf(qualifiedName: string): string {
  return qualifiedName.slice(qualifiedName.indexOf(':') + 1);
}
