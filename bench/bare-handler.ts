import express from 'express';

/** The least that Express can do with a webhook: reads the body and says yes. `node bench/bare-handler.ts PORT` */
const app = express();
app.post('/', express.raw({ type: () => true, limit: '8mb' }), (_request, response) => void response.status(204).end());
app.listen(Number(process.argv[2]), '127.0.0.1');
