import { createHash } from 'node:crypto';
import { type Selectable, sql } from 'kysely';
import type { KeyRing } from '../crypto/key-ring.ts';
import { AftercallError } from '../domain/errors.ts';
import { type Database, json } from './database.ts';
import type { ConnectorsTable } from './schema.ts';
import { asInstallation } from './scope.ts';

/** A system that a project has connected, with its settings by name, as text. */
export interface Connector {
  project: string;
  kind: string;
  settings: Record<string, string>;
  secrets: Record<string, string>;
  /** Another one at every change. */
  revision: string;
  updatedBy: string;
  updatedAt: Date;
}

export interface SaveConnector {
  settings: Record<string, string>;
  secrets: Record<string, string>;
  /** The secret that webhooks name in their address, if they do: by it they are led to the project. */
  webhookSecret?: string | undefined;
  by: string;
}

/** Ties the secrets to their place: those of one project cannot be put into another's row. */
export const connectorContext = (project: string, kind: string): string => `connector/${project}/${kind}`;

/** The connectors of projects; secrets are sealed under the key ring. */
export const createConnectors = (db: Database, keyRing: KeyRing) => {
  const toConnector = (row: Selectable<ConnectorsTable>): Connector => ({
    project: row.project,
    kind: row.kind,
    settings: row.settings,
    secrets: JSON.parse(keyRing.openText(row.sealed, connectorContext(row.project, row.kind))) as Record<string, string>,
    revision: row.revision,
    updatedBy: row.updated_by,
    updatedAt: row.updated_at,
  });

  return {
    /** What a project has connected, by kind: cheap, to see whether something changed. */
    async revisions(project: string): Promise<Map<string, string>> {
      const rows = await db.selectFrom('connectors').select(['kind', 'revision']).where('project', '=', project).execute();
      return new Map(rows.map(({ kind, revision }) => [kind, revision]));
    },

    async find(project: string, kind: string): Promise<Connector | undefined> {
      const row = await db.selectFrom('connectors').selectAll().where('project', '=', project).where('kind', '=', kind).executeTakeFirst();
      return row && toConnector(row);
    },

    async list(project: string): Promise<Connector[]> {
      const rows = await db.selectFrom('connectors').selectAll().where('project', '=', project).orderBy('kind').execute();
      return rows.map(toConnector);
    },

    /** Projects and what they have connected, over the whole installation. */
    async listPlaces(): Promise<{ project: string; kind: string }[]> {
      return asInstallation(() => db.selectFrom('connectors').select(['project', 'kind']).orderBy('project').orderBy('kind').execute());
    },

    /**
     * Connects a system, or changes how it is connected.
     *
     * @param change what to keep, given what stands there: nobody else changes it meanwhile
     * @param follow what has to happen with it; when it fails, nothing is changed
     * @throws CONFLICT when another project's webhooks have the same address
     */
    async save(project: string, kind: string, change: (current: Connector | undefined) => SaveConnector, follow: (saved: Connector) => Promise<void> = async () => {}): Promise<Connector> {
      try {
        return await db.transaction().execute(async (tx) => {
          const standing = await tx.selectFrom('connectors').selectAll().where('project', '=', project).where('kind', '=', kind).forUpdate().executeTakeFirst();
          const { settings, secrets, webhookSecret, by } = change(standing && toConnector(standing));
          const row = {
            settings: json(settings),
            sealed: keyRing.sealText(JSON.stringify(secrets), connectorContext(project, kind)),
            webhook_hash: webhookSecret === undefined ? null : hashOf(webhookSecret),
            revision: sql<string>`gen_random_uuid()`,
            updated_by: by,
            updated_at: sql<Date>`now()`,
          };
          const saved = await tx
            .insertInto('connectors')
            .values({ project, kind, ...row })
            .onConflict((conflict) => conflict.columns(['project', 'kind']).doUpdateSet(row))
            .returningAll()
            .executeTakeFirstOrThrow();
          const connector = toConnector(saved);
          await follow(connector);
          return connector;
        });
      } catch (error) {
        if (!isTaken(error)) throw error;
        throw new AftercallError('CONFLICT', 'This webhook secret cannot be used.', { advice: 'Make a new one of 32 or more random characters.', outcome: 'refused', cause: error });
      }
    },

    /** @returns whether there was one */
    async remove(project: string, kind: string, follow: () => Promise<void> = async () => {}): Promise<boolean> {
      return db.transaction().execute(async (tx) => {
        const gone = await tx.deleteFrom('connectors').where('project', '=', project).where('kind', '=', kind).returning('kind').executeTakeFirst();
        await follow();
        return gone !== undefined;
      });
    },

    /** Whose webhooks come under a secret address. Looked up by digest, so that time tells nothing of the secret. */
    async findByWebhookSecret(kind: string, secret: string): Promise<Connector | undefined> {
      const row = await asInstallation(() => db.selectFrom('connectors').selectAll().where('kind', '=', kind).where('webhook_hash', '=', hashOf(secret)).executeTakeFirst());
      return row && toConnector(row);
    },
  };
};

export type Connectors = ReturnType<typeof createConnectors>;

const hashOf = (secret: string): string => createHash('sha256').update(secret).digest('hex');

/** A unique key that somebody else holds. */
const isTaken = (error: unknown): boolean => (error as { code?: string }).code === '23505';
