#!/usr/bin/env bash
# Measures this machine's NVIDIA GPU in one command: CUDA and WebGPU against the CPU, with the embedded bundle and with
# PCM-Net on a random-weight CLIP ViT-L/14. Prints a table as Markdown and writes all numbers as JSON.
#
#   bash bench/gpu.sh --photos DIR [--out DIR] [--clip-bundle DIR] [options of dist/bench/gpu.js]
#
# --photos DIR       at least 64 photos (JPEG, PNG or WebP)
# --out DIR          where report.md and report.json go               [gpu-report]
# --clip-bundle DIR  the ViT-L/14 bundle from an earlier run; otherwise it is made, which takes 8 GB of memory
# --swiftshader      no GPU: WebGPU through SwiftShader and the embedded bundle alone, to try this script out
#
# Needs Node.js 20.19, Python 3.11 with venv, Linux on x64, and the NVIDIA driver. What else is needed comes from npm and
# PyPI into a temporary folder; ONNX Runtime finds its CUDA provider through links in node_modules that go at the end.
set -Eeuo pipefail
cd "$(dirname "$0")/.."
export ONNXRUNTIME_NODE_INSTALL=skip ORT_DISABLE_TELEMETRY=1

photos='' out=gpu-report clip_bundle='' swiftshader=''
options=()
while (($# > 0)); do
  case $1 in
    --photos) photos=${2:?--photos takes a folder} && shift 2 ;;
    --out) out=${2:?--out takes a folder} && shift 2 ;;
    --clip-bundle) clip_bundle=${2:?--clip-bundle takes a folder} && shift 2 ;;
    --swiftshader) swiftshader=1 && shift ;;
    *) options+=("$1") && shift ;;
  esac
done

say() { echo "gpu.sh: $*" >&2; }
fail() {
  say "$@"
  exit 1
}

temporary=$(mktemp -d)
links=()
# shellcheck disable=SC2317 # the trap calls it
cleanup() {
  rm -rf "$temporary" "${links[@]}"
}
trap cleanup EXIT
trap 'say "stopped: line $LINENO failed"' ERR

require_machine() {
  test -n "$photos" || fail '--photos DIR is missing'
  test -d "$photos" || fail "$photos is not a folder"
  command -v node >/dev/null || fail 'Node.js is missing'
  test "$(node -p 'process.platform + process.arch')" = linuxx64 || fail 'CUDA needs Linux on x64'
  if [ -n "$swiftshader" ]; then return; fi
  command -v nvidia-smi >/dev/null || fail 'there is no NVIDIA GPU: nvidia-smi is missing, and the driver with it'
  nvidia-smi -L | grep -q '^GPU ' || fail 'there is no NVIDIA GPU: nvidia-smi lists none'
  nvidia-smi --query-gpu=index,name,driver_version --format=csv,noheader >&2
  python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' || fail 'Python 3.11 with venv is missing'
}

# The CUDA provider is in PyPI's wheel of the same version as the npm package; its extras are the CUDA libraries that it was
# built for.
install_cuda() {
  local version runtime libraries
  version=$(node -p "require('onnxruntime-node/package.json').version")
  say "installing the CUDA provider of ONNX Runtime $version, about 3 GB"
  python3 -m venv "$temporary/cuda"
  "$temporary/cuda/bin/pip" install --quiet --no-cache-dir "onnxruntime-gpu[cuda,cudnn]==$version"
  runtime=node_modules/onnxruntime-node/bin/napi-v6/linux/x64
  local packages
  packages=$("$temporary/cuda/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  for name in shared cuda; do
    local library=libonnxruntime_providers_$name.so
    if [ -e "$runtime/$library" ]; then
      say "$runtime/$library is there already and is used"
      continue
    fi
    ln -s "$packages/onnxruntime/capi/$library" "$runtime/$library"
    links+=("$PWD/$runtime/$library")
  done
  libraries=$(find "$packages/nvidia" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
  export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

# The driver of the GPU for Vulkan comes with the NVIDIA driver; the loader is a package of the system.
install_vulkan() {
  if ldconfig -p | grep -q 'libvulkan\.so\.1'; then return; fi
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    say 'installing the Vulkan loader'
    apt-get update -qq && apt-get install -y -qq --no-install-recommends libvulkan1 >&2
  else
    say 'the Vulkan loader is missing: WebGPU will not be measured'
  fi
}

make_clip_bundle() {
  if [ -n "$clip_bundle" ]; then return; fi
  say 'making the ViT-L/14 bundle'
  clip_bundle=$temporary/clip
  python3 -m venv "$temporary/models"
  "$temporary/models/bin/pip" install --quiet --no-cache-dir ./models
  "$temporary/models/bin/python" models/bench/random_clip_bundle.py "$clip_bundle"
}

use_swiftshader() {
  local folder=${SWIFTSHADER_FOLDER:-/usr/lib/chromium}
  test -e "$folder/vk_swiftshader_icd.json" || fail "$folder/vk_swiftshader_icd.json is missing: install Debian's chromium"
  export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export VK_DRIVER_FILES=$folder/vk_swiftshader_icd.json VK_ICD_FILENAMES=$folder/vk_swiftshader_icd.json
}

require_machine
node scripts/bootstrap.mjs all
measured=(--bundle "embedded=models/default" --provider cpu --provider webgpu)
if [ -n "$swiftshader" ]; then
  use_swiftshader
else
  install_cuda
  install_vulkan
  make_clip_bundle
  measured+=(--provider cuda --bundle "ViT-L/14 (random weights)=$clip_bundle")
fi
mkdir -p "$out"
status=0
node --enable-source-maps dist/bench/gpu.js "${measured[@]}" --photos "$photos" --json "$out/report.json" \
  "${options[@]}" >"$out/report.md" || status=$?
cat "$out/report.md"
say "written to $out/report.md and $out/report.json"
exit "$status"
