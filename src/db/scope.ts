import { AsyncLocalStorage } from 'node:async_hooks';
import { CompiledQuery, type DatabaseConnection, type Dialect, type Driver, type TransactionSettings } from 'kysely';

/**
 * Whose rows the queries of some work may see: one project's, everybody's, or nobody's.
 *
 * The second wall behind the `where project = …` of every repository: PostgreSQL's row-level security
 * holds each query to it, also one whose `where` was forgotten.
 */
export type Scope = { project: string } | 'installation' | 'nobody' | 'owner';

const current = new AsyncLocalStorage<Scope>();

/** Work of the installation itself sees all projects; requests and activities are narrowed to one. */
const DEFAULT: Scope = 'installation';

export const inProject = <T>(project: string, work: () => T): T => current.run({ project }, work);
export const asInstallation = <T>(work: () => T): T => current.run('installation', work);
export const asNobody = <T>(work: () => T): T => current.run('nobody', work);
/** For migrations: as the tables' owner, past every policy. */
export const asOwner = <T>(work: () => T): T => current.run('owner', work);

const settingOf = (scope: Scope): string => {
  if (scope === 'nobody') return '';
  return typeof scope === 'object' ? scope.project : '*';
};

/** What is known of a connection: the scope it was last set to, and whether it has to step down from a role that no policy holds. */
interface Known {
  set?: string;
  above: boolean;
}

/** A dialect whose connections carry the scope of the work that asks for them. */
export const scopedDialect = (inner: Dialect): Dialect => ({
  createAdapter: () => inner.createAdapter(),
  createQueryCompiler: () => inner.createQueryCompiler(),
  createIntrospector: (db) => inner.createIntrospector(db),
  createDriver: () => scopedDriver(inner.createDriver()),
});

const scopedDriver = (inner: Driver): Driver => {
  const connections = new WeakMap<DatabaseConnection, Known>();

  const know = async (connection: DatabaseConnection): Promise<Known> => {
    const { rows } = await connection.executeQuery<{ above: boolean }>(
      CompiledQuery.raw("select (rolsuper or rolbypassrls) and exists (select from pg_roles where rolname = 'aftercall_app') as above from pg_roles where rolname = session_user"),
    );
    return { above: rows[0]?.above ?? false };
  };

  return {
    init: () => inner.init(),
    async acquireConnection() {
      const connection = await inner.acquireConnection();
      const scope = current.getStore() ?? DEFAULT;
      const owner = scope === 'owner';
      const wanted = owner ? 'owner' : `scope:${settingOf(scope)}`;
      try {
        const known = connections.get(connection) ?? (await know(connection));
        if (known.set === wanted) return connection;
        const role = !owner && known.above ? 'aftercall_app' : 'none';
        await connection.executeQuery(CompiledQuery.raw("select set_config('role', $1, false), set_config('app.project', $2, false)", [role, settingOf(scope)]));
        // The migration may just have made the role: look again the next time.
        if (owner) connections.delete(connection);
        else connections.set(connection, { ...known, set: wanted });
        return connection;
      } catch (error) {
        await inner.releaseConnection(connection);
        throw error;
      }
    },
    beginTransaction: (connection: DatabaseConnection, settings: TransactionSettings) => inner.beginTransaction(connection, settings),
    commitTransaction: (connection) => inner.commitTransaction(connection),
    rollbackTransaction: (connection) => inner.rollbackTransaction(connection),
    releaseConnection: (connection) => inner.releaseConnection(connection),
    destroy: () => inner.destroy(),
    ...(inner.savepoint ? { savepoint: inner.savepoint.bind(inner) } : {}),
    ...(inner.rollbackToSavepoint ? { rollbackToSavepoint: inner.rollbackToSavepoint.bind(inner) } : {}),
    ...(inner.releaseSavepoint ? { releaseSavepoint: inner.releaseSavepoint.bind(inner) } : {}),
  };
};
