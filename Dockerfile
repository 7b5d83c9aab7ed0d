# Aftercall's worker and API. The same image runs both: see docker-compose.temporal.yml.
FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
COPY scripts ./scripts
COPY sandbox ./sandbox
RUN npm run build

FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM node:24-bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ffmpeg ca-certificates && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV NODE_ENV=production API_HOST=0.0.0.0 WORKFLOW_BUNDLE=/app/dist/workflow-bundle.js
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json ./
USER node
# The young generation is kept small: its garbage holds the buffers of every download until it is collected.
# Node itself is process 1, so that SIGTERM reaches the worker and its activities get their grace time.
CMD ["node", "--max-semi-space-size=1", "dist/worker.js"]
