/** Our own reading of the API's answers, for where the published description is not at hand. */
const name = { type: 'object', required: ['id', 'name'], properties: { id: { type: 'string' }, name: { type: 'string' } } };

export const tasks = {
  type: 'object',
  required: ['meta', 'data'],
  properties: {
    meta: { type: 'object', required: ['orgId'] },
    data: {
      type: 'array',
      items: {
        type: 'object',
        required: ['id', 'attributes'],
        properties: {
          id: { type: 'string' },
          attributes: {
            type: 'object',
            required: ['channelType', 'status', 'createdTime', 'captureRequested', 'origin', 'destination', 'direction'],
            properties: {
              owner: name,
              queue: name,
              channelType: { enum: ['email', 'chat', 'telephony', 'social'] },
              status: { enum: ['created', 'queued', 'offered', 'assigned', 'abandoned', 'completed'] },
              createdTime: { type: 'integer' },
              captureRequested: { type: ['boolean', 'null'] },
              direction: { enum: ['inbound', 'outbound', 'outdial'] },
            },
          },
        },
      },
    },
  },
};

export const captures = {
  type: 'object',
  required: ['meta', 'data'],
  properties: {
    data: {
      type: 'array',
      items: {
        type: 'object',
        required: ['taskId', 'recording', 'transcription'],
        properties: {
          recording: {
            type: 'array',
            items: {
              type: 'object',
              required: ['id', 'segment', 'attributes'],
              properties: { attributes: { type: 'object', required: ['fileName', 'filePath', 'startTime', 'stopTime', 'channel1', 'channel2', 'callType'] } },
            },
          },
        },
      },
    },
  },
};

export const error = {
  type: 'object',
  required: ['trackingId', 'error'],
  properties: { error: { type: 'object', required: ['key', 'message'], properties: { message: { type: 'array', items: { type: 'object', required: ['description'] } } } } },
};

export const capturesRequest = {
  type: 'object',
  required: ['query'],
  additionalProperties: false,
  properties: {
    query: {
      type: 'object',
      required: ['taskIds'],
      additionalProperties: false,
      properties: {
        orgId: { type: 'string' },
        urlExpiration: { type: 'integer', minimum: 1, maximum: 60 },
        taskIds: { type: 'array', minItems: 1, maxItems: 10, uniqueItems: true, items: { type: 'string' } },
        includeSegments: { type: 'boolean' },
        includeVARecordings: { type: 'boolean' },
      },
    },
  },
};
