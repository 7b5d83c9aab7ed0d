import { createServer, type AddressInfo } from 'node:net';

const canListen = (port: number): Promise<number | undefined> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen(port, '127.0.0.1', () => {
      const { port: bound } = server.address() as AddressInfo;
      server.close(() => resolve(bound));
    });
  });

/** The wanted port if it is free, else one that is. */
export const freePort = async (wanted = 0): Promise<number> => (await canListen(wanted)) ?? (await canListen(0))!;
