import type { Environment } from '../config.js';
import { diagnose, type Finding } from '../diagnosis.js';
import { exitCodes } from './exit-codes.js';

const marks: Readonly<Record<Finding['state'], string>> = {
  ok: 'ok',
  note: 'note',
  absent: '-',
  problem: 'PROBLEM',
};

/** `doctor`: a line for each thing that the service needs, and the verdict at the end; returns the exit code. */
export async function doctor(environment: Environment, asJson: boolean): Promise<number> {
  const findings: Finding[] = [];
  for await (const finding of diagnose(environment)) {
    findings.push(finding);
    if (!asJson) print(`${marks[finding.state].padEnd(7)}  ${finding.name.padEnd(8)}  ${finding.detail}`);
  }
  const problems = findings.filter(({ state }) => state === 'problem').length;
  const ok = problems === 0;
  if (asJson) print(JSON.stringify({ ok, findings }));
  else
    print(ok ? 'The service would start here.' : `The service would not start here: problems: ${problems}.`);
  return ok ? exitCodes.ok : exitCodes.failed;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
