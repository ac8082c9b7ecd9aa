#!/usr/bin/env node
import { ConfigError, readConfig, settingsHelp } from './config.js';

try {
  process.stdout.write(`${settingsHelp()}\n`);
  readConfig(process.env);
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
