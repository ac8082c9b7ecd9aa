/** The service by itself: `pcm-caption serve`, for `npm start` and images. */
import { run } from './cli/run.js';

await run(['serve', ...process.argv.slice(2)]);
