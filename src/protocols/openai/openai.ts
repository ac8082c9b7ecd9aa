import type { ErrorCode } from '../../errors.js';
import type { Protocol } from '../../http/protocol.js';
import { addChatRoute } from './chat-completions.js';
import { addModelRoutes } from './models.js';
import { addResponsesRoute } from './responses.js';

/** OpenAI's API. `GET /v1/models` and `POST /v1/embeddings` are part of this service's own. */
export const openai: Protocol = {
  name: 'openai',
  description: 'OpenAI: `/v1/chat/completions`, `/v1/responses`, `/v1/models/{model}`.',
  formatError: ({ code, detail }, status) => ({
    body: { error: { message: detail, type: typeOf(status), param: null, code: codes[code] ?? code } },
  }),
  routes(app, options) {
    addChatRoute(app, options);
    addResponsesRoute(app, options);
    addModelRoutes(app, options);
  },
};

/** Codes that clients know by OpenAI's names. */
const codes: Partial<Record<ErrorCode, string>> = {
  unauthorized: 'invalid_api_key',
  not_found: 'model_not_found',
  rate_limited: 'rate_limit_exceeded',
};

function typeOf(status: number): string {
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}
