// Draws the sample photo of the page at /: a dog that leaps for a frisbee. Turbulence makes grass, leaves and fur of
// plain shapes, so that the model takes it for a photo.
//   node scripts/draw-sample.mjs
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';

const dog = `
  <path d="M262 330Q190 300 170 210 150 180 165 170 185 175 195 215 215 285 290 300z" fill="#dcc9a8"/>
  <path d="M320 420 290 470 300 548 340 552 336 486 380 440zM360 430 352 480 372 556 412 556 396 480 420 440z" fill="#c7ad83"/>
  <path d="M560 420 556 556 596 556 604 430zM600 410 626 540 666 540 644 400z" fill="#d7bf97"/>
  <path d="M262 320Q300 280 420 296 520 300 590 270 650 280 664 360 660 430 600 446 500 460 440 440 360 470 300 440 240 400 262 320z" fill="url(#coat)"/>
  <path d="M570 290Q580 190 660 166 730 150 760 200L816 226Q834 244 814 262 770 282 730 272 700 320 650 340z" fill="#e8dcc6"/>
  <path d="M650 176Q610 180 604 250 612 296 640 280 668 240 672 190z" fill="#9a7443"/>
  <path d="M560 420Q600 380 640 400L620 330 570 320z" fill="#e7cfa7"/>
  <path d="M548 548H602V566H548zM620 532H672V550H620zM296 540H346V560H296zM366 548H418V566H366z" fill="#e7cfa7"/>`;

const details = `
  <circle cx="730" cy="208" r="8" fill="#150b05"/>
  <circle cx="732" cy="205" r="2.5" fill="#fff"/>
  <ellipse cx="814" cy="232" rx="15" ry="11" fill="#150b05"/>
  <g transform="translate(806 264) rotate(-6)">
    <ellipse rx="56" ry="13" fill="#d42a2a"/>
    <ellipse rx="44" ry="8" cy="-3" fill="none" stroke="#fff" stroke-opacity=".45" stroke-width="3"/>
  </g>
  <path d="M596 300Q630 340 672 330" stroke="#b8141c" stroke-width="14" fill="none"/>`;

const scene = `
  <svg xmlns="http://www.w3.org/2000/svg" width="960" height="640">
    <defs>
      <linearGradient id="meadow" x2="0" y2="1"><stop stop-color="#6f9a45"/><stop offset="1" stop-color="#3f6e22"/></linearGradient>
      <linearGradient id="coat" x2="0" y2="1"><stop stop-color="#e8dcc6"/><stop offset="1" stop-color="#b79d74"/></linearGradient>
      <filter id="blades" x="0" y="0" width="1" height="1">
        <feTurbulence type="fractalNoise" baseFrequency=".12 .025" numOctaves="4" seed="2"/>
        <feColorMatrix values="0 0 0 0 .1  0 0 0 0 .25  0 0 0 0 .03  3 0 0 0 -1.3"/>
      </filter>
      <filter id="leaves">
        <feTurbulence type="fractalNoise" baseFrequency=".03" numOctaves="4" seed="3"/>
        <feDisplacementMap in="SourceGraphic" scale="90"/>
        <feGaussianBlur stdDeviation="5"/>
      </filter>
      <filter id="fur">
        <feTurbulence type="fractalNoise" baseFrequency=".08" numOctaves="3" seed="8" result="noise"/>
        <feDisplacementMap in="SourceGraphic" in2="noise" scale="16"/>
      </filter>
      <filter id="soft"><feGaussianBlur stdDeviation="1"/></filter>
    </defs>
    <rect width="960" height="640" fill="#a9c7d6"/>
    <path d="M-50 260V60Q100-20 220 90 360 0 480 100 620 10 760 90 860 20 1010 80V260z" fill="#355a2b" filter="url(#leaves)"/>
    <rect y="230" width="960" height="410" fill="url(#meadow)"/>
    <rect y="230" width="960" height="410" filter="url(#blades)" opacity=".7"/>
    <ellipse cx="460" cy="560" rx="240" ry="22" fill="#17300b" opacity=".5"/>
    <g transform="translate(0 -50) rotate(-10 460 400)">
      <g filter="url(#fur)">${dog}</g>
      <g filter="url(#soft)">${details}</g>
    </g>
  </svg>`;

await sharp(Buffer.from(scene))
  .jpeg({ quality: 80, mozjpeg: true })
  .toFile(fileURLToPath(new URL('../src/playground/sample.jpg', import.meta.url)));
