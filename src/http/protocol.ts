import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Captioner } from '../captioner/captioner.js';
import type { ServiceError } from '../errors.js';
import type { Scheduler } from '../scheduler/scheduler.js';
import {
  type AdmissionSettings,
  admit,
  admittedOf,
  type AdmittedRequest,
  unlessAborted,
} from './admission-hook.js';
import { refuse, reportProblem, statusOf } from './problem-details.js';

export { reportProblem };

/** What the routes of a protocol need. */
export interface ProtocolOptions extends AdmissionSettings {
  readonly captioner: Captioner;
  readonly scheduler: Scheduler;
  /** Images of one request, at most. */
  readonly maxImages: number;
  /** Names that the served model answers to, beside its own. */
  readonly modelAliases: readonly string[];
  /** Below this confidence a client gets no caption. */
  readonly minConfidence: number;
  /** Origins whose pages may call the service, or `*`. */
  readonly corsOrigins: readonly string[];
}

/** A protocol that clients of another product speak: its routes, and the shape of its errors. */
export interface Protocol {
  /** Its name in `PROTOCOLS`, in metrics, and in the reference. */
  readonly name: string;
  /** One sentence for the reference. */
  readonly description: string;
  readonly routes: (app: FastifyInstance, options: ProtocolOptions) => void;
  readonly formatError: (error: ServiceError, status: number, request: FastifyRequest) => ProtocolError;
}

export interface ProtocolError {
  /** Where the protocol has another status for the error than HTTP and this service. */
  readonly status?: number;
  readonly body: object;
}

/**
 * Registers each protocol in a scope of its own, with the hooks of the scope it is registered in: API keys and the rate
 * limit hold for it, and what they refuse is told in its shape.
 */
export async function registerProtocols(
  app: FastifyInstance,
  protocols: readonly Protocol[],
  options: ProtocolOptions,
): Promise<void> {
  for (const protocol of protocols) {
    await app.register((scope: FastifyInstance, _options: object, done: () => void): void => {
      scope.addHook('onRoute', (route) => {
        route.config = { ...route.config, protocol: protocol.name };
        route.schema = { ...route.schema, tags: [protocol.name] };
      });
      scope.setErrorHandler((error, request, reply) => {
        const problem = refuse(error, request, reply);
        const { status, body } = protocol.formatError(problem, statusOf[problem.code], request);
        if (status !== undefined) reply.code(status);
        // Not problem+json: some clients read the message of plain JSON only.
        return reply.type('application/json; charset=utf-8').send(body);
      });
      takeAnyType(scope);
      protocol.routes(scope, options);
      done();
    });
  }
}

/** Reads bodies of any other type: as JSON where they are an object, since clients name many types for it; else as bytes. */
function takeAnyType(scope: FastifyInstance): void {
  scope.addContentTypeParser('*', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    if (/^\s*\{/.test(body.toString('latin1', 0, 100))) return scope.parseJson(request, body);
    return body.length === 0 ? undefined : body;
  });
}

/** How a route appears in the reference. */
export interface RouteFacts {
  readonly summary: string;
  readonly description?: string;
  readonly querystring?: object;
  readonly body?: object;
}

/**
 * Adds a route whose requests are admitted as those of /v1 are: a permit before the body is read, the deadline, and the end
 * of the work when the client disconnects.
 */
export function addImageRoute(
  app: FastifyInstance,
  [method, url]: readonly [method: 'GET' | 'POST', url: string],
  schema: RouteFacts,
  options: ProtocolOptions,
  work: (request: FastifyRequest, reply: FastifyReply, context: AdmittedRequest) => Promise<unknown>,
): void {
  app.route({
    method,
    url,
    schema,
    onRequest: admit(options.scheduler, 'single', options),
    handler: (request, reply) => {
      const context = admittedOf(request);
      return unlessAborted(context, reply, () => work(request, reply, context));
    },
  });
}

/** Whether the name that a client asks for is one of the served model's; a tag `:latest` is left aside. */
export function isModelName(name: string, names: readonly string[]): boolean {
  const bare = (each: string): string => each.replace(/:latest$/, '');
  return names.some((each) => bare(each) === bare(name));
}
