/**
 * The trace that a request belongs to, by its `traceparent` header (W3C Trace Context): 32 hexadecimal digits.
 * Undefined where there is none or it is not valid: a trace that nobody else knows would help nobody. Of a version later
 * than 00, whatever follows is left aside, as the recommendation asks.
 */
export function traceIdOf(traceparent: string | string[] | undefined): string | undefined {
  if (typeof traceparent !== 'string') return undefined;
  const [, version, traceId, parentId, rest] =
    /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/.exec(traceparent) ?? [];
  const isValid =
    version !== 'ff' &&
    !(version === '00' && rest !== undefined) &&
    traceId !== none(32) &&
    parentId !== none(16);
  return isValid ? traceId : undefined;
}

/** What the recommendation calls invalid. */
function none(digits: number): string {
  return '0'.repeat(digits);
}
