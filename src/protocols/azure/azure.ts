import type { ErrorCode } from '../../errors.js';
import type { Protocol } from '../../http/protocol.js';
import { addAnalyzeRoute } from './image-analysis-4.js';
import { addDescribeRoutes } from './computer-vision-3.js';

/** Azure's Image Analysis, of the versions that clients still call. */
export const azure: Protocol = {
  name: 'azure',
  description:
    'Azure Image Analysis: 4.0 (`caption`, `denseCaptions`, `tags`) and 3.2 (`Description`, `Tags`, `describe`).',
  formatError: ({ code, detail }) => ({
    body: { error: { code: codes[code] ?? 'InvalidRequest', message: detail } },
  }),
  routes(app, options) {
    addAnalyzeRoute(app, options);
    addDescribeRoutes(app, options);
  },
};

/** Codes that clients know by Azure's names. */
const codes: Partial<Record<ErrorCode, string>> = {
  unauthorized: 'PermissionDenied',
  not_found: 'NotFound',
  body_too_large: 'InvalidImageSize',
  image_too_many_pixels: 'InvalidImageSize',
  image_unreadable: 'InvalidImageFormat',
  unsupported_image_format: 'InvalidImageFormat',
  url_not_allowed: 'InvalidImageUrl',
  url_unreachable: 'InvalidImageUrl',
  rate_limited: 'TooManyRequests',
  queue_full: 'ServiceUnavailable',
  not_ready: 'ServiceUnavailable',
  draining: 'ServiceUnavailable',
  deadline_exceeded: 'Timeout',
  internal: 'InternalServerError',
};
