// Runs the tests of the WebGPU provider with SwiftShader as the only Vulkan driver. They are not part of `npm test`,
// which must pass with Node alone; here a missing driver is a failure.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Debian's chromium brings the driver and a Vulkan loader. */
const folder = process.env.SWIFTSHADER_FOLDER ?? '/usr/lib/chromium';
const driver = join(folder, 'vk_swiftshader_icd.json');
if (!existsSync(driver)) {
  process.stderr.write(
    `${driver} is missing: install Debian’s chromium, or set SWIFTSHADER_FOLDER to where the driver lies\n`,
  );
  process.exit(1);
}
// The linker reads its path when a process starts. The second name of the driver's variable is that of older loaders.
const paths = [folder, process.env.LD_LIBRARY_PATH].filter((path) => path !== undefined && path !== '');
const env = {
  ...process.env,
  LD_LIBRARY_PATH: paths.join(':'),
  VK_DRIVER_FILES: driver,
  VK_ICD_FILENAMES: driver,
  ORT_DISABLE_TELEMETRY: '1',
};
const script = fileURLToPath(new URL('test.mjs', import.meta.url));
const { status } = spawnSync(process.execPath, [script, 'webgpu/'], {
  cwd: dirname(dirname(script)),
  stdio: 'inherit',
  env,
});
process.exit(status ?? 1);
