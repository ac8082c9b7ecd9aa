// Draws the sample photo of the page at /: a skier on a slope, soft and grainy, as a camera would see them.
//   node scripts/draw-sample.mjs
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';

const [width, height] = [960, 640];

const skier = `
  <g transform="translate(500 330) scale(1.25)" stroke-linecap="round" stroke-linejoin="round" fill="none">
    <path d="M-40 96 L140 132 M-20 110 L150 146" stroke="#b11f1f" stroke-width="7"/>
    <path d="M34 34 L52 76 L28 112 M54 34 L92 72 L84 126" stroke="#1d2b45" stroke-width="22"/>
    <path d="M12 -30 Q46 -52 72 -20 L74 44 H24Z" fill="#d9302a"/>
    <circle cx="58" cy="-52" r="18" fill="#e5b48c"/>
    <path d="M38 -54 a20 20 0 0 1 40 -4 l-2 6z" fill="#20252e"/>
    <path d="M60 -46 h20" stroke="#e89a1c" stroke-width="9"/>
    <path d="M64 -12 L104 10 L122 -8" stroke="#c22a25" stroke-width="15"/>
    <path d="M24 -14 L-4 14 L10 34" stroke="#a9211d" stroke-width="15"/>
    <path d="M122 -8 L150 118 M10 34 L-58 84" stroke="#333" stroke-width="4"/>
  </g>`;

function tree(x, y, scale) {
  return `
    <g transform="translate(${x} ${y}) scale(${scale})" fill="#26402f">
      <path d="M0 -90 L26 -40 H-26Z M0 -62 L36 0 H-36Z M0 -30 L46 44 H-46Z"/>
      <path d="M0 -90 L12 -62 L-8 -70Z M-20 -10 L-36 0 L-10 -4Z M20 20 L46 44 L18 36Z" fill="#eef4f9"/>
    </g>`;
}

const trees = Array.from({ length: 16 }, (_, index) =>
  tree(
    60 * (index + 0.5) + 37 * Math.sin(index * 7.1 + 1),
    280 + 14 * Math.sin(index * 3.3 + 1),
    0.9 * (0.8 + 0.3 * Math.sin(index * 5.7 + 1)),
  ),
).join('');

const scene = `
  <svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
    <defs>
      <linearGradient id="sky" x2="0" y2="1"><stop stop-color="#3d7cc9"/><stop offset="1" stop-color="#cfe3f4"/></linearGradient>
      <linearGradient id="snow" x2="1" y2="1"><stop stop-color="#fbfdff"/><stop offset="1" stop-color="#c3d3e4"/></linearGradient>
    </defs>
    <rect width="${width}" height="${height}" fill="url(#sky)"/>
    <path d="M0 300 L180 120 L330 260 L560 60 L800 280 L960 190 V640 H0Z" fill="#93aac2"/>
    <path d="M560 60 L650 145 L600 132 L565 170 L525 120 L498 118Z M180 120 L235 172 L190 160 L140 162Z" fill="#fff"/>
    ${trees}
    <path d="M0 250 Q260 230 520 330 T960 470 V640 H0Z" fill="url(#snow)"/>
    <g stroke="#b9cbdd" fill="none" stroke-width="3" opacity=".8">
      <path d="M0 330 Q260 320 470 420 M0 350 Q240 345 455 436"/>
      <path d="M40 640 Q400 470 900 560 M200 640 Q460 540 960 620"/>
    </g>
    <g fill="#fff">
      <circle cx="470" cy="432" r="16"/><circle cx="446" cy="424" r="12"/>
      <circle cx="424" cy="430" r="9"/><circle cx="490" cy="446" r="12"/>
    </g>
    ${skier}
  </svg>`;

/** The grain of a sensor; the same each time, where `noise` of sharp is not. */
function grain() {
  const pixels = Buffer.alloc(width * height);
  let state = 1;
  for (let index = 0; index < pixels.length; index++) {
    let sum = 0;
    for (let draw = 0; draw < 4; draw++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      sum += state / 2 ** 32;
    }
    pixels[index] = 128 + 42 * (sum - 2);
  }
  return sharp(pixels, { raw: { width, height, channels: 1 } })
    .blur(0.8)
    .png()
    .toBuffer();
}

await sharp(Buffer.from(scene))
  .flatten({ background: '#fff' })
  .blur(1.8)
  .composite([{ input: await grain(), blend: 'soft-light' }])
  .jpeg({ quality: 78 })
  .toFile(fileURLToPath(new URL('../src/playground/sample.jpg', import.meta.url)));
