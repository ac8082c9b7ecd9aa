import { ServiceError } from '../errors.js';
import { isModelName, type ProtocolOptions } from '../http/protocol.js';

/** Names of the served model: its own, and the operator's aliases. */
export function modelNames({ scheduler, modelAliases }: ProtocolOptions): string[] {
  return [...new Set([scheduler.model.bundle.id, ...modelAliases])];
}

/**
 * The name under which a client asks for the model; the bundle's own where it names none. A tag `:latest` is left aside.
 *
 * @throws ServiceError not_found
 */
export function chooseModel(name: string | undefined, options: ProtocolOptions): string {
  const names = modelNames(options);
  if (name === undefined) return options.scheduler.model.bundle.id;
  if (!isModelName(name, names)) {
    throw new ServiceError('not_found', `model '${name.slice(0, 100)}' not found`);
  }
  return name;
}
