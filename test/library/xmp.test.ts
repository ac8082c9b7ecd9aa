import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mergeMetadata, type PhotoMetadata } from '../../src/library/photo-metadata.js';
import { XmpError, XmpPacket } from '../../src/library/xmp.js';

const caption: PhotoMetadata = {
  description: 'A dog runs on a beach & barks <loudly>',
  subjects: ['dog', 'beach'],
  altText: 'A dog runs on a beach',
};

/** As Lightroom writes it: properties as attributes, a text in two languages. */
const lightroom = `<?xpacket begin="\uFEFF" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
   xmp:Rating="4"
   crs:Exposure2012="+0.35"
   crs:Note="two&#xA;lines">
   <dc:description>
    <rdf:Alt>
     <rdf:li xml:lang="x-default">My holiday</rdf:li>
     <rdf:li xml:lang="de-DE">Mein Urlaub</rdf:li>
    </rdf:Alt>
   </dc:description>
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Beach</rdf:li>
     <rdf:li>2024</rdf:li>
    </rdf:Bag>
   </dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>`;

/** As darktable writes it: its history in a structure of its own, no words yet. */
const darktable = `<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:darktable="http://darktable.sf.net/"
   darktable:xmp_version="5">
   <darktable:history>
    <rdf:Seq>
     <rdf:li
      darktable:num="0"
      darktable:operation="rawprepare"/>
    </rdf:Seq>
   </darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
`;

function withWords(text: string | undefined, metadata: PhotoMetadata): string {
  const packet = new XmpPacket(text);
  packet.metadata = metadata;
  return packet.toString();
}

/** All that a packet holds but the words that are set, with the spaces and references of one writer. */
function othersOf(text: string): string {
  return text
    .replace(/<(dc:description|dc:subject|Iptc4xmpCore:AltTextAccessibility)[ >].*?<\/\1>/gs, '')
    .replace(/\s+/g, ' ')
    .replace(/> (?=<)/g, '>')
    .replaceAll('&#xA;', '&#10;')
    .trim();
}

test('words are read back from a new packet, and from those of other programs', () => {
  for (const text of [undefined, lightroom, darktable]) {
    assert.deepEqual(new XmpPacket(withWords(text, caption)).metadata, caption);
  }
});

test('everything else that other programs have written stays', () => {
  for (const text of [lightroom, darktable]) {
    assert.equal(othersOf(withWords(text, caption)), othersOf(text));
  }
  assert.match(withWords(lightroom, caption), /<rdf:li xml:lang="de-DE">Mein Urlaub<\/rdf:li>/);
});

test('words that are the same change no letter of the packet', () => {
  const written = withWords(lightroom, caption);
  assert.equal(withWords(written, caption), written);
  const { metadata } = new XmpPacket(lightroom);
  assert.deepEqual(metadata, { description: 'My holiday', subjects: ['Beach', '2024'], altText: '' });
  assert.equal(withWords(lightroom, metadata), new XmpPacket(lightroom).toString());
});

test('a property that is an attribute, or has no language, is read and replaced', () => {
  const attribute = darktable.replace(
    'darktable:xmp_version="5"',
    'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:description="plain"',
  );
  assert.equal(new XmpPacket(attribute).metadata.description, 'plain');
  const written = withWords(attribute, caption);
  assert.equal(new XmpPacket(written).metadata.description, caption.description);
  assert.ok(!written.includes('plain'));
});

test('the packet inside a photo is found, and one cut short is none', () => {
  const photo = Buffer.concat([Buffer.from([0xff, 0xd8, 0xff]), Buffer.from(lightroom), Buffer.alloc(9)]);
  assert.equal(XmpPacket.findIn(photo)?.metadata.description, 'My holiday');
  assert.equal(XmpPacket.findIn(photo.subarray(0, 400)), undefined);
  assert.equal(XmpPacket.findIn(Buffer.from('<x:xmpmeta <<< </x:xmpmeta>')), undefined);
});

test('what is no XMP is refused', () => {
  for (const text of ['', 'words', lightroom.slice(0, 700), '<a/>']) {
    assert.throws(() => new XmpPacket(text), XmpError);
  }
});

const mine: PhotoMetadata = { description: 'My holiday', subjects: ['Beach'], altText: '' };

test('skip fills what is empty, overwrite replaces, append adds each word once', () => {
  assert.deepEqual(mergeMetadata(mine, caption, 'skip'), { ...mine, altText: caption.altText });
  assert.deepEqual(mergeMetadata(mine, caption, 'overwrite'), caption);
  const appended = {
    description: `My holiday\n${caption.description}`,
    subjects: ['Beach', 'dog'],
    altText: caption.altText,
  };
  assert.deepEqual(mergeMetadata(mine, caption, 'append'), appended);
  assert.deepEqual(mergeMetadata(appended, caption, 'append'), appended, 'twice is as once');
});

test('where the model says nothing, every mode leaves what is there', () => {
  const nothing = { description: '', subjects: [], altText: '' };
  for (const mode of ['skip', 'overwrite', 'append'] as const) {
    assert.deepEqual(mergeMetadata(caption, nothing, mode), caption);
  }
});
