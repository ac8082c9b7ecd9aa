import { createMcpHandler } from '@modelcontextprotocol/server';
import { ServiceError } from '../../errors.js';
import { addImageRoute, type Protocol, reportProblem } from '../../http/protocol.js';
import { jsonBody } from '../permissive.js';
import { createMcpServer } from './tools.js';

/** The code that JSON-RPC leaves to servers. */
const serverError = -32_000;

/** The Model Context Protocol over streamable HTTP, without sessions: each request is served by itself. */
export const mcp: Protocol = {
  name: 'mcp',
  description:
    'Model Context Protocol at `/mcp`: the tools `caption_image`, `score_alt_text` and `tag_image`.',
  formatError: ({ detail }) => ({
    body: { jsonrpc: '2.0', id: null, error: { code: serverError, message: detail } },
  }),
  routes(app, options) {
    // A page whose host name leads to this machine (DNS rebinding) has an origin of its own.
    app.addHook('onRequest', ({ headers: { origin } }, _reply, next) => {
      if (origin === undefined || isAllowed(origin, options.corsOrigins)) next();
      else
        next(new ServiceError('forbidden', 'Only pages of CORS_ORIGINS and of this machine may call /mcp.'));
    });
    addImageRoute(
      app,
      ['POST', '/mcp'],
      {
        summary: 'One JSON-RPC message',
        body: {
          type: 'object',
          additionalProperties: true,
          examples: [{ jsonrpc: '2.0', id: 1, method: 'tools/list' }],
        },
      },
      options,
      async (request, reply, context) => {
        // Not a batch of messages: each tool call takes an image's slot, and a request has one.
        const parsedBody = jsonBody(request);
        const { captioner } = options;
        const handler = createMcpHandler(() =>
          createMcpServer({
            captioner,
            withContext: (work) => work(context),
            problemOf: (error) => reportProblem(error, request.log),
          }),
        );
        const headers = new Headers();
        for (const [name, value] of Object.entries(request.headers)) {
          if (typeof value === 'string') headers.set(name, value);
        }
        const { signal } = context;
        const url = new URL(request.url, 'http://localhost');
        try {
          const message = new Request(url, { method: 'POST', headers, signal });
          const response = await handler.fetch(message, { parsedBody });
          const text = await response.text();
          const type = response.headers.get('content-type');
          if (type !== null) void reply.type(type);
          return await reply.code(response.status).send(text);
        } finally {
          await handler.close();
        }
      },
    );
  },
};

/** Whether pages of an origin may call: those of this machine, and those of the setting. */
function isAllowed(origin: string, allowed: readonly string[]): boolean {
  if (allowed.includes('*') || allowed.includes(origin)) return true;
  const host = URL.canParse(origin) ? new URL(origin).hostname : '';
  return ['localhost', '127.0.0.1', '[::1]'].includes(host);
}
