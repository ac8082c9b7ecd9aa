# The service on CPUs, for linux/amd64 and linux/arm64:
#   docker build -t pcm-caption . && docker run --rm --read-only --tmpfs /tmp -p 8080:8080 pcm-caption
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
# The CPU runtime is inside its package; the install script would only download libraries for GPUs.
ENV ONNXRUNTIME_NODE_INSTALL=skip
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY scripts scripts
COPY src src
RUN node scripts/bootstrap.mjs src
# The runtime's package carries its libraries for every platform: only this image's stay.
RUN npm prune --omit=dev --no-audit --no-fund \
  && npm cache clean --force \
  && find node_modules/onnxruntime-node/bin/napi-v6 -mindepth 2 -maxdepth 2 \
    ! -path "*/linux/$(node -p process.arch)" -exec rm -rf {} +

FROM ${NODE_IMAGE}
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="pcm-caption" \
  org.opencontainers.image.description="Image captioning microservice: a photo goes in, a sentence with a calibrated confidence comes out" \
  org.opencontainers.image.licenses="MIT" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}"
# glibc keeps what many threads free in arenas of their own, eight a core, and the memory of a long-running service that
# decodes images grows with them.
ENV NODE_ENV=production \
  HOST=0.0.0.0 \
  PORT=8080 \
  MALLOC_ARENA_MAX=2
WORKDIR /app
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist/src dist/src
COPY package.json openapi.yaml LICENSE CHANGELOG.md ./
COPY docker/healthcheck.mjs docker/healthcheck.mjs
COPY models/default models/default
# `node` by its number: Kubernetes sees that it is not root.
USER 1000:1000
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["node", "docker/healthcheck.mjs"]
# Node.js itself is the first process: signals reach the service, which drains and then leaves with 0.
CMD ["node", "--enable-source-maps", "dist/src/main.js"]
